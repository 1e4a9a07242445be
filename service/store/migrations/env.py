"""Run by Alembic, on the connection that it is handed: one transaction for all steps, so that none is half done."""

from typing import Any, Literal

from alembic import context

from service.store import orm
from service.store.orm import Base, UtcDateTime


def render(kind: str, thing: Any, autogen_context: Any) -> str | Literal[False]:
    """A step must not change when our code does: it names the type that the column has in the database."""
    return "sa.DateTime()" if isinstance(thing, UtcDateTime) else False


assert orm.AuditLine.metadata is Base.metadata, "importing them makes them known"
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a column by making the table again
    render_item=render,
)
with context.begin_transaction():
    context.run_migrations()
