"""The store on each supported database."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from service.store.database import Database, sqlite_url
from service.store.orm import Base
from tests.fakes.postgres import Postgres

ENGINES = ["sqlite", "postgres"]


@pytest.fixture(params=ENGINES)
def empty_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without tables."""
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        database = Database(server.url("postgres"))
        with database.engine.begin() as connection:
            connection.execute(text("DROP SCHEMA public CASCADE"))
            connection.execute(text("CREATE SCHEMA public"))
    else:
        database = Database(sqlite_url(tmp_path / "expunge.db"))
    yield database
    database.close()


@pytest.fixture(scope="session")
def prepared_database(postgres: Postgres) -> Iterator[Database]:
    """One database for all tests, because emptying its tables is faster than creating them."""
    database = Database(postgres.create())
    database.prepare()
    yield database
    database.close()


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest, empty_tables: Path, tmp_path: Path) -> Iterator[Database]:
    """A database with empty tables."""
    if request.param == "postgres":
        yield delete_all_rows(request.getfixturevalue("prepared_database"))
        return
    database = Database(sqlite_url(shutil.copy(empty_tables, tmp_path)))
    yield database
    database.close()


def delete_all_rows(database: Database) -> Database:
    database.prepare()
    with database.engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)}"))
    return database
