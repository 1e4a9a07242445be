"""A service on a port, with a worker that uses the fake editor, in this process."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from service.api.app import create_app
from service.core.app_state import AppState
from service.settings import ServiceSettings
from service.store import api_keys, outbox
from service.store.clock import utc_now
from tests.fakes.model import write_model
from tests.fakes.stack import wait_until
from worker.runner import Runner
from worker.settings import WorkerSettings

FAKE_MODULES = {
    kind: f"tests.fakes.{kind}" for kind in ("editor", "revoker", "planner", "calibrator", "registrar", "carrier")
}


@dataclass(frozen=True)
class LiveService:
    """URL and API key of a running service."""

    url: str
    key: str


@contextmanager
def live_service() -> Iterator[LiveService]:
    """Run a service with an empty store."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        models = {"tiny": write_model(root / "models" / "tiny")}
        app_state = AppState.from_settings(
            ServiceSettings(
                data_dir=root, broker_url="memory://", models=models, rate_limit="", stream_limit_seconds=0.2
            )
        )
        app_state.database.prepare()
        key, stop = api_keys.generate_api_key(), threading.Event()
        with app_state.database.write() as session:
            api_keys.register(session, key, now=utc_now())
        app = create_app(app_state)
        app.openapi()  # The contract is built once and cached; on a busy machine building it takes longer than a client waits.
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", access_log=False))
        worker = WorkerSettings(data_dir=root, models=models, progress_seconds=0.0, **FAKE_MODULES)
        threads = [
            threading.Thread(target=server.run),
            threading.Thread(target=_run_jobs, args=[app_state, worker, stop]),
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: server.started)
        try:
            yield LiveService(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", key)
        finally:
            app_state.shutting_down.set()
            stop.set()
            server.should_exit = True
            for thread in threads:
                thread.join()
            app_state.database.close()


def _run_jobs(app_state: AppState, settings: WorkerSettings, stop: threading.Event) -> None:
    """Run each job at once, dry runs first, because a client waits for them."""
    runner = Runner(settings, app_state.database, app_state.blobs, app_state.registry)
    while not stop.wait(0.02):
        with app_state.database.read() as session:
            due = [message.job_id for message in outbox.due(session, now=utc_now())]
        for job_id in sorted(due, reverse=True)[:1]:
            runner.run(job_id)
