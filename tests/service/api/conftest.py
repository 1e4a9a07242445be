"""Registered models, and a worker that runs the jobs of a test in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.core.app_state import AppState
from service.store import fleets, model_registrations
from service.store.database import Database
from service.store.orm import Job, ModelRegistration
from tests.fakes.clock import FakeClock
from tests.fakes.model import WEIGHTS, write_model
from worker.runner import Runner
from worker.settings import WorkerSettings

ENCODERS = {"a1": b"A" * 7000, "a2": b"A" * 7000, "a3": b"A" * 7000, "b1": b"B" * 7000, "c1": b"C" * 7000}


@pytest.fixture
def runner(app_state: AppState, tmp_path: Path) -> Runner:
    settings = WorkerSettings(
        data_dir=tmp_path,
        editor="tests.fakes.editor",
        registrar="tests.fakes.registrar",
        carrier="tests.fakes.carrier",
        revoker="tests.fakes.revoker",
        models=app_state.settings.models,
        model_roots=app_state.settings.model_roots,
        progress_seconds=0.0,
    )
    return Runner(settings, app_state.database, app_state.blobs, app_state.registry, app_state.clock)


@pytest.fixture
def models(client: TestClient, app_state: AppState, tmp_path: Path) -> None:
    """Five registered models of three text encoders; `c1` has no label."""
    for name, weights in ENCODERS.items():
        register_model(app_state, tmp_path, name, weights, [] if name == "c1" else ["production"])


def register_model(app_state: AppState, folder: Path, name: str, weights: bytes, labels: list[str]) -> None:
    """Register a model, which a worker still has to read."""
    path, now = folder / "models" / name, app_state.clock()
    if not path.exists():
        write_model(path)
    (path / WEIGHTS).write_bytes(weights)
    with app_state.database.write() as session:
        row = session.merge(ModelRegistration(id=name, path=str(path), registered_at=now, source="path", labels=labels))
        session.flush()
        model_registrations.start_reading(session, row, tenant="default", api_key_id="k", now=now)
    app_state.registry.forget(name)


@pytest.fixture
def settle(runner: Runner, database: Database, clock: FakeClock) -> Callable[[], None]:
    """Run jobs and advance the fleets until nothing is left to do."""

    def run() -> None:
        while True:
            with database.write() as session:
                fleets.advance_all(session, now=clock())
            with database.read() as session:
                queued = session.scalars(select(Job.id).where(Job.status == "queued").order_by(Job.id)).all()
            if not queued:
                return
            for job_id in queued:
                runner.run_job(job_id)

    return run
