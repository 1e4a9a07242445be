"""Every step of the schema, forward and back, on both engines."""

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


def tables(database: Database) -> set[str]:
    return set(inspect(database.engine).get_table_names()) - {"alembic_version"}


def shape(database: Database) -> dict[str, list[tuple[str, str, bool]]]:
    """Each table's columns: name, type, nullable."""
    found = inspect(database.engine)
    return {
        table: sorted((str(c["name"]), str(c["type"]), bool(c["nullable"])) for c in found.get_columns(table))
        for table in found.get_table_names()
    }


def end_a_job(database: Database, clock: FakeClock) -> str:
    with database.write() as session:
        job_id = jobs.create(
            session, NewJob(EditRequest(model="tiny", removals=[Removal(concept="fox")]), "k"), now=clock()
        ).id
        jobs.cancel(session, job_id, now=clock())
    return job_id


def test_migrations_match_the_orm_classes(empty: Database) -> None:
    empty.prepare()
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": connection.dialect.name != "sqlite"})
        assert compare_metadata(context, Base.metadata) == []
    assert tables(empty) == set(Base.metadata.tables)
    empty.check()


def test_every_migration_can_be_downgraded(empty: Database) -> None:
    """Down one by one and up again: each one's shape is what it was on the way up."""
    seen = {}
    for revision in reversed(STEPS):
        empty.prepare(revision)
        seen[revision] = shape(empty)
    for revision in STEPS:
        assert shape(empty) == seen[revision]
        empty.revert("-1")
    assert tables(empty) == set()
    empty.prepare()
    assert shape(empty) == seen[STEPS[0]]


def test_rows_survive_every_migration(empty: Database, clock: FakeClock) -> None:
    empty.prepare()
    job_id = end_a_job(empty, clock)
    empty.revert(STEPS[-1])
    empty.prepare()
    with empty.read() as session:
        assert session.get_one(Job, job_id).status == "canceled"


def test_a_terminal_job_never_changes(empty: Database, clock: FakeClock) -> None:
    """Nor after a step that made the table again: that would have lost the trigger."""
    empty.prepare()
    job_id = end_a_job(empty, clock)
    with pytest.raises(IntegrityError, match="a terminal job never changes"), empty.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(status="queued"))


def test_prepare_is_idempotent(database: Database) -> None:
    database.prepare()
    database.check()


def test_check_rejects_an_empty_database(empty: Database) -> None:
    with pytest.raises(IncompatibleStore, match="db upgrade"):
        empty.check()


def test_newer_database_is_rejected(empty: Database) -> None:
    empty.prepare()
    with empty.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(IncompatibleStore, match="9999"):
        empty.prepare()


def test_database_without_migrations_is_adopted(tmp_path: Path, clock: FakeClock) -> None:
    database = Database(sqlite_url(tmp_path / "expunge.db"))
    database.prepare("0001")
    with database.write() as session:
        session.execute(text("DROP TABLE alembic_version"))
        session.execute(text("CREATE TABLE store_version (version INTEGER)"))
        session.execute(text("INSERT INTO store_version VALUES (2)"))
    database.prepare()
    database.check()
    assert tables(database) == set(Base.metadata.tables)


def test_failed_upgrade_is_rolled_back(empty: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last thing that the first step does is to forbid changes of terminal jobs."""
    monkeypatch.setattr("alembic.op.execute", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        empty.prepare()
    assert tables(empty) == set()
