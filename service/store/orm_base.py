"""What the ORM classes share: their base, column types, and fast inserts."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import JSON, DateTime, Dialect, Insert, MetaData, String, Table, TypeDecorator, insert
from sqlalchemy.orm import DeclarativeBase, Session

from api_schemas.jobs import JobKind, Status
from api_schemas.report import Verdict

MAX_INTEGER = 2**31 - 1
"""The largest value that an integer column holds in every supported database."""


class UtcDateTime(TypeDecorator[datetime]):
    """Timezone-aware datetimes, stored in UTC. Naive datetimes are rejected because their timezone is unknown."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to naive UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("Naive datetimes cannot be stored.")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert to timezone-aware UTC."""
        return value.replace(tzinfo=UTC) if value else None


class Base(DeclarativeBase):
    """Base of the ORM classes: naming convention of constraints and column types."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it from the class
        datetime: UtcDateTime,
        dict[str, Any]: JSON(none_as_null=True),
        Status: String,
        JobKind: String,
        Verdict: String,
    }


def add_row(session: Session, table: type[Base], **values: Any) -> None:
    """Insert a row without creating an ORM object, which is several times faster than `Session.add`."""
    add_rows(session, table, [values])


def add_rows(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the same columns in one statement."""
    if rows:
        session.connection().execute(_insert_statement(table), rows)


@cache
def _insert_statement(table: type[Base]) -> Insert:
    return insert(cast(Table, table.__table__))
