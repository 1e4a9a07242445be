"""Every migration, up and down, on both database engines."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text, update
from sqlalchemy.exc import IntegrityError

from api_schemas.edits import EditRequest, Removal
from service.store import jobs
from service.store.database import Database, sqlite_url
from service.store.errors import IncompatibleStore
from service.store.jobs import NewJob
from service.store.migrations import runner
from service.store.orm import Base, Job
from tests.fakes.clock import FakeClock

STEPS = [script.revision for script in ScriptDirectory(str(runner.SCRIPT_FOLDER)).walk_revisions()]


def table_names(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names()) - {"alembic_version"}


def table_columns(database: Database) -> dict[str, list[tuple[str, str, bool]]]:
    """Return name, type and nullability of each table's columns."""
    found = inspect(database.engine)
    return {
        table: sorted((str(c["name"]), str(c["type"]), bool(c["nullable"])) for c in found.get_columns(table))
        for table in found.get_table_names()
    }


def end_job(database: Database, clock: FakeClock) -> str:
    with database.write() as session:
        job_id = jobs.create(
            session, NewJob(EditRequest(model="tiny", removals=[Removal(concept="fox")]), "k"), now=clock()
        ).id
        jobs.cancel(session, job_id, now=clock())
    return job_id


def test_migrations_match_the_orm_classes(empty_database: Database) -> None:
    empty_database.prepare()
    with empty_database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": connection.dialect.name != "sqlite"})
        assert compare_metadata(context, Base.metadata) == []
    assert table_names(empty_database) == set(Base.metadata.tables)
    empty_database.check()


def test_every_migration_can_be_downgraded(empty_database: Database) -> None:
    """After each downgrade and upgrade the tables are as they were on the way up."""
    seen = {}
    for revision in reversed(STEPS):
        empty_database.prepare(revision)
        seen[revision] = table_columns(empty_database)
    for revision in STEPS:
        assert table_columns(empty_database) == seen[revision]
        empty_database.revert("-1")
    assert table_names(empty_database) == set()
    empty_database.prepare()
    assert table_columns(empty_database) == seen[STEPS[0]]


def test_rows_survive_every_migration(empty_database: Database, clock: FakeClock) -> None:
    empty_database.prepare()
    job_id = end_job(empty_database, clock)
    empty_database.revert(STEPS[-1])
    empty_database.prepare()
    with empty_database.read() as session:
        assert session.get_one(Job, job_id).status == "canceled"


def test_a_terminal_job_never_changes(empty_database: Database, clock: FakeClock) -> None:
    """The trigger survives steps that recreate the table."""
    empty_database.prepare()
    job_id = end_job(empty_database, clock)
    with pytest.raises(IntegrityError, match="a terminal job never changes"), empty_database.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(status="queued"))


def test_prepare_is_idempotent(database: Database) -> None:
    database.prepare()
    database.check()


def test_check_rejects_an_empty_database(empty_database: Database) -> None:
    with pytest.raises(IncompatibleStore, match="db upgrade"):
        empty_database.check()


def test_newer_database_is_rejected(empty_database: Database) -> None:
    empty_database.prepare()
    with empty_database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(IncompatibleStore, match="9999"):
        empty_database.prepare()


def test_database_without_migrations_is_adopted(tmp_path: Path, clock: FakeClock) -> None:
    database = Database(sqlite_url(tmp_path / "expunge.db"))
    database.prepare("0001")
    with database.write() as session:
        session.execute(text("DROP TABLE alembic_version"))
        session.execute(text("CREATE TABLE store_version (version INTEGER)"))
        session.execute(text("INSERT INTO store_version VALUES (2)"))
    database.prepare()
    database.check()
    assert table_names(database) == set(Base.metadata.tables)


def test_failed_upgrade_is_rolled_back(empty_database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forbidding changes of terminal jobs is the last statement of the first step."""
    monkeypatch.setattr("alembic.op.execute", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        empty_database.prepare()
    assert table_names(empty_database) == set()
