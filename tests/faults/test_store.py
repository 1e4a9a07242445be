"""A locked database, a full database, a full blob disk, and a broker without memory."""

import errno
import io
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from fastapi.testclient import TestClient
from kombu.exceptions import OperationalError
from redis import Redis
from sqlalchemy import text

from service.api.app import create_app
from service.core.app_state import AppState
from service.dispatcher import Dispatcher
from service.launcher import broker
from service.settings import ServiceSettings
from service.store import api_keys, jobs
from service.store import database as database_module
from service.store.blobs import Blob, LocalBlobs
from service.store.celery_config import TASK_NAME, celery_app
from service.store.clock import utc_now
from service.store.jobs import NewJob
from service.store.orm import Job
from tests.fakes.model import write_model
from tests.fakes.stack import environment
from tests.faults.conftest import REQUEST
from worker.runner import Runner
from worker.settings import WorkerSettings

BODY = REQUEST.model_dump(mode="json", exclude_defaults=True)


@pytest.fixture
def app_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppState]:
    monkeypatch.setattr(database_module, "BUSY_TIMEOUT_MS", 200)
    models = {"tiny": write_model(tmp_path / "models" / "tiny")}
    app_state = AppState.from_settings(ServiceSettings(data_dir=tmp_path, broker_url="memory://", models=models))
    app_state.database.prepare()
    yield app_state
    app_state.database.close()


@pytest.fixture
def client(app_state: AppState) -> Iterator[TestClient]:
    key = api_keys.generate_api_key()
    with app_state.database.write() as session:
        api_keys.register(session, key, now=utc_now())
    headers = {"Authorization": f"Bearer {key}"}
    with TestClient(create_app(app_state), headers=headers, raise_server_exceptions=False) as client:
        yield client


def test_locked_database_rejects_writes_but_allows_reads(app_state: AppState, client: TestClient) -> None:
    accepted = client.post("/v1/edits", json=BODY).json()["id"]
    with app_state.database.write() as session:
        session.execute(text("SELECT 1"))  # BEGIN IMMEDIATE
        refused = client.post("/v1/edits", json=BODY, headers={"Idempotency-Key": "k"})
        assert client.get(f"/v1/edits/{accepted}").status_code == 200
    assert (refused.status_code, refused.json()["code"]) == (503, "service_unavailable")
    assert refused.headers["Retry-After"] == "2"
    again = client.post("/v1/edits", json=BODY, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "false")


def test_full_database_rejects_writes_and_recovers(app_state: AppState, client: TestClient) -> None:
    """A page limit makes SQLite raise SQLITE_FULL, as a full disk does."""
    accepted = client.post("/v1/edits", json=BODY).json()["id"]
    before = len(client.get("/v1/edits").json()["data"])
    with app_state.database.engine.connect() as connection:
        connection.execute(text(f"PRAGMA max_page_count={connection.scalar(text('PRAGMA page_count'))}"))
    long = BODY | {"metadata": {f"key{n}": "x" * 500 for n in range(16)}}
    replies = [client.post("/v1/edits", json=long) for _ in range(3)]
    assert {(reply.status_code, reply.json().get("code")) for reply in replies[1:]} == {(503, "service_unavailable")}
    assert client.get(f"/v1/edits/{accepted}").status_code == 200
    assert len(client.get("/v1/edits").json()["data"]) <= before + 1
    app_state.database.close()  # Closes the connections that have the limit.
    assert client.post("/v1/edits", json=long).status_code == 202


class FullDisk(LocalBlobs):
    """A store whose first puts fail in the middle."""

    failures = 1

    def put(self, source: IO[bytes]) -> Blob:
        if self.failures:
            self.failures -= 1
            return super().put(HalfRead(source.read()))
        return super().put(source)


class HalfRead(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().read(10)


def test_full_blob_disk_costs_one_attempt(app_state: AppState, tmp_path: Path) -> None:
    settings = WorkerSettings(data_dir=tmp_path, editor="tests.fakes.editor", models=app_state.settings.models)
    blobs = FullDisk(tmp_path / "blobs")
    runner = Runner(settings, app_state.database, blobs, settings.registry())
    with app_state.database.write() as session:
        job_id = jobs.create(session, NewJob(REQUEST, "key"), now=utc_now()).id
    runner.run(job_id)
    with app_state.database.read() as session:
        assert session.get_one(Job, job_id).status == "queued"
    assert list(blobs.each()) == []
    runner.run(job_id)
    with app_state.database.read() as session:
        job = session.get_one(Job, job_id)
    assert (job.status, job.attempt) == ("succeeded", 2)


def test_full_disk(tmp_path: Path) -> None:
    """The same on a real full disk: a tmpfs of one megabyte, mounted in a namespace of its own."""
    mount = f"mount -t tmpfs -o size=1m tmpfs {tmp_path}"
    inside = ["unshare", "--map-root-user", "--user", "--mount", "sh", "-c"]
    if not shutil.which("unshare") or subprocess.run([*inside, mount], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounting; the two tests above simulate a full disk by other means")
    program = f"{mount} && exec {sys.executable} -m tests.faults.small_disk {tmp_path}"
    done = subprocess.run([*inside, program], env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def small_broker(tmp_path: Path) -> Iterator[Redis]:
    """A broker without memory for another message."""
    socket = tmp_path / "b.sock"
    command = [*broker.server_command(broker.find_server(), tmp_path, socket), "--maxmemory", "3mb"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        broker.wait_until_ready(socket)
        with Redis(unix_socket_path=str(socket)) as redis:
            yield redis
    finally:
        process.kill()
        process.wait()


def test_broker_without_memory_delays_jobs(app_state: AppState, small_broker: Redis, tmp_path: Path) -> None:
    app = celery_app(ServiceSettings(broker_url=broker.socket_url(tmp_path / "b.sock")))
    dispatcher = Dispatcher(app_state.database, lambda job_id, _: app.send_task(TASK_NAME, kwargs={"job_id": job_id}))
    small_broker.config_set("maxmemory", 1)
    with app_state.database.write() as session:
        jobs.create(session, NewJob(REQUEST, "key"), now=utc_now())
    with pytest.raises(OperationalError):
        dispatcher.run_once()
    stop = threading.Event()
    thread = threading.Thread(target=dispatcher.run, args=[stop])
    thread.start()
    try:
        small_broker.config_set("maxmemory", 0)
        for _ in range(100):
            if small_broker.llen("edits") or stop.wait(0.1):
                break
        assert small_broker.llen("edits") == 1
    finally:
        stop.set()
        thread.join()
