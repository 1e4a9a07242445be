"""Connections and transactions, on SQLite and on PostgreSQL.

SQLite runs in WAL mode, and every write transaction begins with BEGIN IMMEDIATE: a deferred one that reads
before it writes fails at once when another process writes in between, whatever the timeout. PostgreSQL reads at
REPEATABLE READ, which is what a transaction of SQLite sees too, and writes at READ COMMITTED: every write of ours
first takes the lock of the job's row, and what it reads after that is the latest.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from api_schemas.errors import UsageError
from service.store.errors import IncompatibleStore, StoreUnavailable

if TYPE_CHECKING:  # it brings Alembic, and a worker's child that is to start soon needs none
    from service.store.migrations.runner import SecretBoxFactory

BUSY_TIMEOUT_MS = 15_000
"""Milliseconds that a writer waits for another one's lock."""
IDLE_TIMEOUT_MS = 30_000
"""Milliseconds after which PostgreSQL ends a transaction whose process does nothing: a stopped one keeps no lock."""

_WRITES = "expunge_writes"
_POSTGRES = {
    "connect_timeout": 10,
    "options": f"-c lock_timeout={BUSY_TIMEOUT_MS} -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}",
}

_POOL: dict[str, Any] = {"pool_size": 40, "max_overflow": 0}
"""As many connections as there are threads: opening a file anew for each transaction of a crowd costs more than they do."""


class Database:
    """One database, opened. Cheap to make; connects when first used."""

    def __init__(self, url: str) -> None:
        self.engine = _open(url)
        self._reader, self._writer = self.engine, self.engine.execution_options(**{_WRITES: True})
        if self.engine.dialect.name == "postgresql":
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A consistent view. What is loaded stays readable afterwards. Raises `StoreUnavailable`."""
        with _translate_errors(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """One transaction: all of it is committed, or nothing. Raises `StoreUnavailable`.

        Where the commit itself gets no answer, it may have happened: whoever is told so looks, or does it again.
        """
        with _translate_errors(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def prepare(self, revision: str = "head", secret_box: "SecretBoxFactory | None" = None) -> None:
        """Make the tables, or bring those that are there to this version's schema.

        Raises `IncompatibleStore`, `SecretsKeyError`.
        """
        from service.store.migrations import runner

        with self._schema_change() as connection:
            runner.upgrade(connection, revision, secret_box)

    def revert(self, revision: str, secret_box: "SecretBoxFactory | None" = None) -> None:
        """Take the schema back to an earlier revision. What only later ones have a place for is lost.

        Raises `SecretsKeyError`.
        """
        from service.store.migrations import runner

        with self._schema_change() as connection:
            runner.downgrade(connection, revision, secret_box)

    def revision(self) -> str | None:
        """The schema that the database has; None: it is empty."""
        from service.store.migrations import runner

        with _translate_errors(), self._reader.connect() as connection:
            return runner.current(connection)

    def check(self) -> None:
        """Raise unless the database answers and has our schema."""
        from service.store.migrations import runner

        if self.revision() != runner.head():
            raise IncompatibleStore("the database has another schema.", remedy="Run: expunge db upgrade")

    def backup(self, out: Path) -> None:
        """Write the SQLite database, as it is at one moment, to a new file. Raises `UsageError`."""
        if self.engine.dialect.name != "sqlite":
            raise UsageError("only a SQLite database is copied so.", remedy="Use pg_dump for PostgreSQL.")
        if out.exists():
            raise UsageError(f"{out} is there already.", remedy="Name a new file.")
        with closing(sqlite3.connect(self.engine.url.database or "")) as source, closing(sqlite3.connect(out)) as copy:
            source.backup(copy)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def _schema_change(self) -> Iterator[Connection]:
        """One transaction in which SQLite lets a table be made again that others refer to."""
        engine = _open(self.engine.url, foreign_keys=False, poolclass=NullPool)
        with engine.execution_options(**{_WRITES: True}).begin() as connection:
            yield connection
            if engine.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise IncompatibleStore("a row would refer to one that is gone.", remedy="Restore a backup.")


def sqlite_url(path: Path) -> str:
    """The URL of a database file."""
    return f"sqlite:///{path}"


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Failures of the database, told apart from ours. What the driver says may hold a password: only its kind is told."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        kind = type(getattr(error, "orig", None) or error).__name__
        raise StoreUnavailable(f"the database cannot be used now ({kind}).", remedy="Try again in a moment.") from error


def _open(url: str | URL, *, foreign_keys: bool = True, **options: Any) -> Engine:
    url = _with_driver(make_url(url))
    if url.get_backend_name() == "postgresql":
        return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=_POSTGRES, **options)
    engine = create_engine(url, hide_parameters=True, **(options or _POOL))  # parameters hold concepts: not for logs
    event.listen(engine, "connect", partial(_configure_sqlite, foreign_keys))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _with_driver(url: URL) -> URL:
    """`postgres://` and `postgresql://`, as everybody writes them, mean our driver."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def _configure_sqlite(foreign_keys: bool, connection: Any, record: Any) -> None:
    """Per connection: we say when a transaction begins; a commit has reached the disk when it returns."""
    connection.isolation_level = None
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"foreign_keys={foreign_keys:d}",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
