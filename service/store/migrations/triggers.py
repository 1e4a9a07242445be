"""Triggers that make the database itself reject changes, for SQLite and PostgreSQL. For use in a migration.

On SQLite, a step that recreates a table (any `batch_alter_table` that does more than add columns) loses its triggers: call
`forbid` again after it.
"""

from alembic import op
from sqlalchemy import text


def forbid(name: str, operation: str, table: str, message: str, *, when: str = "TRUE") -> None:
    """Reject `operation` (``UPDATE``, ``DELETE``) on rows of `table` for which `when`, an SQL condition on ``OLD``, is true."""
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


def forbid_if(name: str, table: str, query: str, message: str, *, when: str) -> None:
    """Reject updates of rows of `table` for which `when` is true if `query`, which may refer to ``NEW``, returns a row."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            text(
                f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} WHEN {when} "
                f"BEGIN SELECT RAISE(ABORT, '{message}') WHERE EXISTS ({query}); END"
            )
        )
        return
    op.execute(
        text(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF EXISTS ({query}) THEN RAISE EXCEPTION "
            f"'{message}' USING ERRCODE = 'integrity_constraint_violation'; END IF; RETURN NEW; END $$"
        )
    )
    op.execute(
        text(f"CREATE TRIGGER {name} BEFORE UPDATE ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION {name}()")
    )


def allow(name: str, table: str) -> None:
    """Remove a trigger of `forbid` or `forbid_if`."""
    if op.get_bind().dialect.name == "sqlite":
        op.execute(text(f"DROP TRIGGER {name}"))
    else:
        op.execute(text(f"DROP FUNCTION {name} CASCADE"))
