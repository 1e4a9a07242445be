"""Connections and transactions on SQLite and PostgreSQL.

SQLite runs in WAL mode. Write transactions start with BEGIN IMMEDIATE: a deferred transaction that reads before it writes
fails at once if another process wrote in between, whatever the timeout. PostgreSQL reads at REPEATABLE READ, like a SQLite
transaction, and writes at READ COMMITTED: every write first locks the job's row and then reads the latest data.
"""

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event, make_url
from sqlalchemy.exc import DatabaseError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from api_schemas.errors import UsageError
from service.store.clock import utc_now
from service.store.disk_space import CHECKED_BYTES, check_disk_space
from service.store.errors import DatabaseCorrupted, IncompatibleStore, StoreUnavailable
from service.store.orm import IdempotencyKey, add_row

if TYPE_CHECKING:  # It imports Alembic, which a worker process does not need and which slows its start.
    from service.store.migrations.runner import SecretBoxFactory

BUSY_TIMEOUT_MS = 15_000
"""How long, in milliseconds, a writer waits for a lock."""
IDLE_TIMEOUT_MS = 30_000
"""PostgreSQL ends transactions that are idle for this many milliseconds, so that a stopped process does not keep locks."""

_CORRUPT = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_POSTGRES_DISK_FULL = "53100"
_POSTGRES_READ_ONLY = "25006"
_WRITES = "expunge_writes"
_POSTGRES = {
    "connect_timeout": 10,
    "options": f"-c lock_timeout={BUSY_TIMEOUT_MS} -c idle_in_transaction_session_timeout={IDLE_TIMEOUT_MS}",
}

_POOL: dict[str, Any] = {"pool_size": 40, "max_overflow": 0}
"""One connection per API thread. Opening the file for each transaction would cost more under load."""


class Database:
    """A database. Connects when first used."""

    def __init__(self, url: str) -> None:
        self.engine = _open(url)
        self._reader, self._writer = self.engine, self.engine.execution_options(**{_WRITES: True})
        if self.engine.dialect.name == "postgresql":
            self._reader = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a consistent read transaction. Loaded objects stay readable afterwards. Raises `StoreUnavailable`."""
        with _translate_errors(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a write transaction that commits on exit and rolls back on an exception. Raises `StoreUnavailable`.

        If the commit gets no answer, it may still have happened: the caller must check or repeat the change idempotently.
        """
        with _translate_errors(), Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def prepare(self, revision: str = "head", secret_box: "SecretBoxFactory | None" = None) -> None:
        """Create the tables or upgrade them to this version's schema.

        Raises `IncompatibleStore`, `SecretsKeyError`.
        """
        from service.store.migrations import runner

        with self._schema_change() as connection:
            runner.upgrade(connection, revision, secret_box)

    def revert(self, revision: str, secret_box: "SecretBoxFactory | None" = None) -> None:
        """Downgrade the schema to an earlier revision. Data that only later revisions can store is lost.

        Raises `SecretsKeyError`.
        """
        from service.store.migrations import runner

        with self._schema_change() as connection:
            runner.downgrade(connection, revision, secret_box)

    def revision(self) -> str | None:
        """Return the schema revision of the database, or None if it is empty."""
        from service.store.migrations import runner

        with _translate_errors(), self._reader.connect() as connection:
            return runner.current(connection)

    def check(self) -> None:
        """Raise unless the database is reachable, has this version's schema and accepts writes."""
        from service.store.migrations import runner

        if self.revision() != runner.head():
            raise IncompatibleStore(
                "The database does not have the schema of this version of Expunge.", remedy="Run: expunge db upgrade"
            )
        if self.engine.dialect.name == "postgresql":
            self._check_writes()
        elif path := self.engine.url.database:
            check_disk_space(Path(path).parent)

    def backup(self, out: Path) -> None:
        """Write a consistent copy of the SQLite database to a new file. Raises `UsageError`."""
        if self.engine.dialect.name != "sqlite":
            raise UsageError(
                "Only SQLite databases can be backed up with this command.", remedy="Use pg_dump for PostgreSQL."
            )
        if out.exists():
            raise UsageError(f"{out} exists already.", remedy="Give a path that does not exist yet.")
        with closing(sqlite3.connect(self.engine.url.database or "")) as source, closing(sqlite3.connect(out)) as copy:
            source.backup(copy)

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    def _check_writes(self) -> None:
        """Insert a row and roll back. Raises `StoreUnavailable` if the server is read-only or its disk is full."""
        row = dict.fromkeys(("api_key_id", "route", "key", "fingerprint"), "check")
        with _translate_errors(), Session(self._writer) as session:
            body, now = secrets.token_hex(CHECKED_BYTES // 2), utc_now()
            add_row(session, IdempotencyKey, **row, status_code=0, body=body, created_at=now)

    @contextmanager
    def _schema_change(self) -> Iterator[Connection]:
        """Open a transaction in which SQLite allows recreating a table that other tables reference."""
        engine = _open(self.engine.url, foreign_keys=False, poolclass=NullPool)
        with _translate_errors(), engine.execution_options(**{_WRITES: True}).begin() as connection:
            yield connection
            if engine.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise IncompatibleStore(
                    "The migration leaves a row that references a missing row.", remedy="Restore a backup."
                )


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite file."""
    return f"sqlite:///{path}"


@contextmanager
def _translate_errors() -> Iterator[None]:
    """Translate driver errors. Their text may contain a password, so only their type is reported."""
    try:
        yield
    except (OperationalError, InterfaceError, InternalError, PoolTimeout) as error:
        raise _translate(getattr(error, "orig", None) or error) from error
    except DatabaseError as error:
        if _sqlite_code(error.orig) not in _CORRUPT:
            raise
        raise _translate(error.orig) from error


def _translate(cause: object) -> StoreUnavailable:
    """Return the error for the exception of a driver."""
    code = _sqlite_code(cause)
    if code == sqlite3.SQLITE_FULL or getattr(cause, "sqlstate", None) == _POSTGRES_DISK_FULL:
        return StoreUnavailable(
            "The disk of the database is full.",
            remedy="Nothing was written. The operator must free space on the disk.",
        )
    if getattr(cause, "sqlstate", None) == _POSTGRES_READ_ONLY:
        return StoreUnavailable("The database is read-only.", remedy="Try again when the operator has restored it.")
    if code in _CORRUPT:
        return DatabaseCorrupted(
            "The database file is damaged, or is not a database.",
            remedy="Restore it from a backup, and check it with `expunge fsck`.",
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return StoreUnavailable(
            "The database file cannot be opened for writing.",
            remedy="Make it and its folder writable for the user of the service.",
        )
    return StoreUnavailable(f"The database is not available ({type(cause).__name__}).", remedy="Try again in a moment.")


def _sqlite_code(error: object) -> int | None:
    """Return the primary result code of SQLite, without the details of its extended codes."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _open(url: str | URL, *, foreign_keys: bool = True, **options: Any) -> Engine:
    url = _with_driver(make_url(url))
    if url.get_backend_name() == "postgresql":
        return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args=_POSTGRES, **options)
    engine = create_engine(
        url, hide_parameters=True, **(options or _POOL)
    )  # Parameters contain concepts, which must not be logged.
    event.listen(engine, "connect", partial(_configure_sqlite, foreign_keys))
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _with_driver(url: URL) -> URL:
    """Use psycopg for `postgres://` and `postgresql://` URLs."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgres", "postgresql") else url


def _configure_sqlite(foreign_keys: bool, connection: Any, record: Any) -> None:
    """Configure a new connection: explicit transactions, and commits that are on disk when they return."""
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
