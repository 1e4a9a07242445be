"""What the database itself refuses, whoever asks: triggers, in both engines' words. For use in a step.

On SQLite a step that makes a table again (any `batch_alter_table` but one that adds columns) loses its triggers: call
`forbid` again after it.
"""

from alembic import op
from sqlalchemy import text


def forbid(name: str, operation: str, table: str, message: str, *, when: str = "TRUE") -> None:
    """Refuse `operation` (``UPDATE``, ``DELETE``) on rows of `table` of which `when`, an SQL condition on ``OLD``, is true."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            text(
                f"CREATE TRIGGER {name} BEFORE {operation} ON {table} WHEN {when} "
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        )
        return
    op.execute(
        text(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
    )
    op.execute(
        text(
            f"CREATE TRIGGER {name} BEFORE {operation} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()"
        )
    )


def allow(name: str, table: str) -> None:
    """Take `forbid` back."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(text(f"DROP TRIGGER {name}"))
    else:
        op.execute(text(f"DROP FUNCTION {name} CASCADE"))
