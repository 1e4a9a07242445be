"""Connections and transactions.

SQLite runs in WAL mode, and every write transaction begins with BEGIN IMMEDIATE: a deferred one that reads
before it writes fails at once when another process writes in between, whatever the timeout.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.orm import Session

from service.store.errors import IncompatibleStore
from service.store.schema import SCHEMA_VERSION, Base, StoreVersion

BUSY_TIMEOUT = 15_000
"""Milliseconds that a SQLite writer waits for another one."""

_WRITES = "expunge_writes"


class Database:
    """One database, opened. Cheap to make; connects when first used."""

    def __init__(self, url: str) -> None:
        self.engine = _open(url)
        self._writer = self.engine.execution_options(**{_WRITES: True})

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view. What is loaded stays readable afterwards."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: all of it is committed, or nothing."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def prepare(self) -> None:
        """Create the tables, once. Raises `IncompatibleStore` on a database of another version."""
        with self._writer.begin() as connection:
            Base.metadata.create_all(connection)
        with self.write() as session:
            found = session.scalar(select(StoreVersion.version))
            if found is None:
                session.add(StoreVersion(version=SCHEMA_VERSION))
            elif found != SCHEMA_VERSION:
                raise IncompatibleStore(
                    f"the store has schema {found}, this version of Expunge needs {SCHEMA_VERSION}.",
                    remedy="Use another data folder, or the version that wrote this one.",
                )

    def check(self) -> None:
        """Raise unless the database answers and has our schema."""
        with self.read() as session:
            if session.scalar(select(StoreVersion.version)) != SCHEMA_VERSION:
                raise IncompatibleStore("the database is not prepared.", remedy="Run: expunge up")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def sqlite_url(path: Path) -> str:
    """The URL of a database file."""
    return f"sqlite:///{path}"


def _open(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, record: Any) -> None:
    """Per connection: we say when a transaction begins; a commit has reached the disk when it returns."""
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_TIMEOUT}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
