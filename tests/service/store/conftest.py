"""The store, on each database that it runs on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from service.store.database import Database, sqlite_url
from service.store.orm import Base
from tests.fakes.postgres import Postgres

ENGINES = ["sqlite", "postgres"]


@pytest.fixture(params=ENGINES)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
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
def prepared(postgres: Postgres) -> Iterator[Database]:
    """One for all tests: to empty its tables is quicker than to make them."""
    database = Database(postgres.create())
    database.prepare()
    yield database
    database.close()


@pytest.fixture(params=ENGINES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database with our tables, and nothing in them."""
    if request.param == "postgres":
        yield emptied(request.getfixturevalue("prepared"))
        return
    database = Database(sqlite_url(tmp_path / "expunge.db"))
    database.prepare()
    yield database
    database.close()


def emptied(database: Database) -> Database:
    database.prepare()
    with database.engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(Base.metadata.tables)}"))
    return database
