"""Registration jobs: digests, interruptions and downloads from a Hub."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from sqlalchemy import select

from api_schemas.registrations import HubSource
from service.api.app import create_app
from service.core.app_state import AppState
from service.settings import ServiceSettings
from service.store import api_keys, model_registrations
from service.store.clock import utc_now
from service.store.database import Database, sqlite_url
from service.store.orm import Job, ModelRegistration
from service.store.registered_files import load_files
from tests.fakes.clock import FakeClock
from tests.fakes.model import WEIGHTS, write_model
from tests.fakes.stack import wait_until
from worker.runner import Runner
from worker.settings import WorkerSettings


def add_row(database: Database, clock: FakeClock, **columns: Any) -> str:
    """Register the model `other` and return the id of its job."""
    with database.write() as session:
        row = session.merge(ModelRegistration(id="other", registered_at=clock(), labels=[], **columns))
        return model_registrations.start_reading(session, row, tenant="one", api_key_id="key", now=clock()).id


def row_of(database: Database) -> ModelRegistration:
    with database.read() as session:
        return session.get_one(ModelRegistration, "other")


def test_files_are_hashed_with_their_components(
    runner: Runner, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "other")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "vae.safetensors").write_bytes(b"vae")
    limited = allow(runner, tmp_path)
    job_id = add_row(database, clock, path=str(folder), source="path", components=str(tmp_path / "parts"))
    limited.run_job(job_id)
    with database.read() as session:
        digests = {file.name: file.sha256 for file in load_files(session, "other")}
        parts = load_files(session, "other", "components")
    assert digests[WEIGHTS] == sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    assert [(one.name, one.sha256) for one in parts] == [("vae.safetensors", sha256(b"vae").hexdigest())]
    assert (row_of(database).status, row_of(database).job_id, row_of(database).family) == ("admitted", None, "fake")


def allow(runner: Runner, root: Path, **more: Any) -> Runner:
    settings = runner.settings.model_copy(update={"model_roots": [root], **more})
    return Runner(settings, runner.database, runner.blobs, settings.registry(), runner.clock)


def test_result_of_a_replaced_job_is_not_recorded(
    runner: Runner, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "other")
    job_id = add_row(database, clock, path=str(folder), source="path")
    with database.write() as session:
        session.get_one(ModelRegistration, "other").job_id = "reg_later"
    allow(runner, tmp_path).run_job(job_id)
    assert (row_of(database).job_id, row_of(database).family) == ("reg_later", None)


def test_registration_that_was_deleted_fails(
    runner: Runner, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "other")
    job_id = add_row(database, clock, path=str(folder), source="path")
    with database.write() as session:
        session.delete(session.get_one(ModelRegistration, "other"))
    allow(runner, tmp_path).run_job(job_id)
    with database.read() as session:
        error = session.get_one(Job, job_id).error
    assert error
    assert error["code"] == "unknown_model"


def test_model_of_the_operator_must_have_its_registered_digests(
    runner: Runner, database: Database, clock: FakeClock, tmp_path: Path
) -> None:
    from service.store.registered_files import register_model

    folder = write_model(tmp_path / "other")
    register_model(database, "other", folder, clock())
    (folder / WEIGHTS).write_bytes(b"others")
    job_id = add_row(database, clock, path=str(folder))
    runner.run_job(job_id)
    with database.read() as session:
        assert session.get_one(Job, job_id).error["code"] == "registered_model_changed"  # type: ignore[index]


@contextmanager
def stub_hub(folder: Path, models: dict[str, Path]) -> Iterator[tuple[str, str]]:
    """Serve base models by our own Hub routes. Yields the endpoint and a token."""
    folder.mkdir()
    settings = ServiceSettings(
        data_dir=folder,
        broker_url="memory://",
        models=models,
        rate_limit="",
        database_url=sqlite_url(folder / "hub.db"),
    )
    app_state, key = AppState.from_settings(settings), api_keys.generate_api_key()
    app_state.database.prepare()
    with app_state.database.write() as session:
        api_keys.register(session, key, now=utc_now())
    server = uvicorn.Server(uvicorn.Config(create_app(app_state), port=0, log_level="error", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    wait_until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/hf", key
    finally:
        server.should_exit = True
        thread.join()
        app_state.database.close()


def test_model_is_downloaded_from_a_hub_at_a_commit(
    runner: Runner, database: Database, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = write_model(tmp_path / "origin")
    (origin / "unet.bin").write_bytes(b"a pickle")
    single = tmp_path / "single.safetensors"
    single.write_bytes(b"one file")
    with stub_hub(tmp_path / "stub", {"remote": origin, "single": single}) as (endpoint, key):
        monkeypatch.setattr("worker.hub_download.HfApi", lambda: hub_api(endpoint, key))
        commits = {name: hub_api(endpoint, key).model_info(f"expunge/{name}").sha for name in ("remote", "single")}
        source = HubSource(repo_id="expunge/remote", revision=commits["remote"] or "")
        columns = {"source": "hub", "hub": source.model_dump(mode="json"), "path": str(tmp_path / "hub" / "other")}

        job_id = add_row(database, clock, **columns)
        allow(runner, tmp_path).run_job(job_id)
        with database.read() as session:
            assert session.get_one(Job, job_id).error["code"] == "hub_error", "downloads are off by default"  # type: ignore[index]

        job_id = add_row(database, clock, **columns)
        allow(runner, tmp_path, hub_downloads=True).run_job(job_id)
        with database.read() as session:
            assert session.get_one(Job, job_id).error is None
        folder = Path(row_of(database).path)
        assert (folder / WEIGHTS).read_bytes() == (origin / WEIGHTS).read_bytes()
        assert not (folder / "unet.bin").exists()

        wrong = source.model_copy(update={"revision": "0" * 40})
        job_id = add_row(database, clock, **columns | {"hub": wrong.model_dump(mode="json")})
        allow(runner, tmp_path, hub_downloads=True).run_job(job_id)
        with database.read() as session:
            error = session.scalar(select(Job.error).where(Job.id == job_id))
        assert error
        assert (error["code"], error["param"]) == ("hub_error", "hub")
        assert key not in error["message"]

        only = HubSource(repo_id="expunge/single", revision=commits["single"] or "", filename="single.safetensors")
        job_id = add_row(database, clock, **columns | {"hub": only.model_dump(mode="json")})
        allow(runner, tmp_path, hub_downloads=True).run_job(job_id)
        assert Path(row_of(database).path).read_bytes() == b"one file"


def hub_api(endpoint: str, key: str) -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=endpoint, token=key)


def test_worker_settings_name_the_folder_of_downloads(tmp_path: Path) -> None:
    assert WorkerSettings(data_dir=tmp_path).download_folder("x") == tmp_path / "hub" / "x"
    assert WorkerSettings(data_dir=tmp_path, hub_dir=tmp_path / "big").download_folder("x") == tmp_path / "big" / "x"
