"""Alembic environment. Runs all steps in one transaction on the given connection, so that no step is half done."""

from typing import Any, Literal

from alembic import context

from service.store import orm
from service.store.orm import Base, UtcDateTime


def render(kind: str, item: Any, autogen_context: Any) -> str | Literal[False]:
    """Render our column types as the database's types, so that a step does not depend on our code."""
    return "sa.DateTime()" if isinstance(item, UtcDateTime) else False


assert orm.AuditLine.metadata is Base.metadata, "importing the module registers the tables"
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite changes a column by recreating the table.
    render_item=render,
)
with context.begin_transaction():
    context.run_migrations()
