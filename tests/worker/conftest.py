"""A runner in this process, with the fake editor."""

from collections.abc import Callable
from pathlib import Path

import pytest

from api_schemas.edits import EditRequest, Removal
from service.store import jobs
from service.store.database import Database
from service.store.jobs import NewJob
from service.store.orm import Job
from tests.fakes.clock import FakeClock
from tests.fakes.model import write_model
from worker.runner import Runner
from worker.settings import WorkerSettings


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(
        data_dir=tmp_path,
        editor="tests.fakes.editor",
        calibrator="tests.fakes.calibrator",
        previewer="tests.fakes.previewer",
        registrar="tests.fakes.registrar",
        models={"tiny": write_model(tmp_path / "models" / "tiny")},
        heartbeat_seconds=0.02,
        cancel_grace_seconds=0.05,
        progress_seconds=0.0,
    )


@pytest.fixture
def runner(settings: WorkerSettings, database: Database, clock: FakeClock) -> Runner:
    return Runner(settings, database, settings.blobs(), settings.registry(), clock)


@pytest.fixture
def submit(database: Database, clock: FakeClock) -> Callable[..., str]:
    """Queue a job whose metadata controls the fake editor."""

    def submit(**wishes: str) -> str:
        request = EditRequest(model="tiny", removals=[Removal(concept="fox")], metadata=wishes)
        with database.write() as session:
            return jobs.create(session, NewJob(request, "key"), now=clock()).id

    return submit


@pytest.fixture
def read(database: Database) -> Callable[[str], Job]:
    def read(job_id: str) -> Job:
        with database.read() as session:
            return session.get_one(Job, job_id)

    return read
