"""A single API process on a data folder with jobs."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from api_schemas.edits import EditRequest, Removal
from service.store import api_keys, jobs
from service.store.clock import utc_now
from service.store.database import Database, sqlite_url
from service.store.jobs import NewJob
from tests.fakes.model import write_model
from tests.fakes.stack import environment, wait_until

REQUEST = EditRequest(model="tiny", removals=[Removal(concept="fox")])


@dataclass
class ApiProcess:
    """A running `python -m service.server`."""

    process: "subprocess.Popen[bytes]"
    url: str
    headers: dict[str, str]
    database: Database
    data_dir: Path

    def submit(self) -> str:
        """Create a queued job, which no worker runs."""
        with self.database.write() as session:
            return jobs.create(session, NewJob(REQUEST, "key"), now=utc_now()).id


@contextmanager
def api_process(data_dir: Path, **settings: str) -> Iterator[ApiProcess]:
    database = Database(sqlite_url(data_dir / "expunge.db"))
    database.prepare()
    key = api_keys.generate_api_key()
    with database.write() as session:
        api_keys.register(session, key, now=utc_now())
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        process = subprocess.Popen(
            [sys.executable, "-m", "service.server", "--fd", str(listener.fileno())],
            env=environment(EXPUNGE_DATA_DIR=str(data_dir), EXPUNGE_RATE_LIMIT="", **settings),
            pass_fds=[listener.fileno()],
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        try:
            wait_until(lambda: httpx.get(f"{url}/healthz", trust_env=False, timeout=30).is_success)
            yield ApiProcess(process, url, {"Authorization": f"Bearer {key}"}, database, data_dir)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiProcess]:
    models = {"EXPUNGE_MODELS_DIR": str(write_model(tmp_path / "models" / "tiny").parent)}
    with api_process(tmp_path, EXPUNGE_STREAM_POLL_SECONDS="1", **models) as api:
        yield api
