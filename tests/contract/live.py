"""A service on a port, with a worker without science beside it, in this process: for tools that want a URL."""

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
from tests.fakes.stack import eventually
from worker.runner import Runner
from worker.settings import WorkerSettings

FAKES = {kind: f"tests.fakes.{kind}" for kind in ("editor", "revoker", "planner")}


@dataclass(frozen=True)
class Live:
    """Where it is, and how to get in."""

    url: str
    key: str


@contextmanager
def serving() -> Iterator[Live]:
    """A service on an empty store, gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        models = {"tiny": write_model(root / "models" / "tiny")}
        app_state = AppState.from_settings(
            ServiceSettings(
                data_dir=root, broker_url="memory://", models=models, rate_limit="", stream_limit_seconds=0.2
            )
        )
        app_state.database.prepare()
        key, stop = api_keys.new_key(), threading.Event()
        with app_state.database.write() as session:
            api_keys.register(session, key, now=utc_now())
        app = create_app(app_state)
        app.openapi()  # made once, and kept: on a busy machine that takes longer than a client waits
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", access_log=False))
        worker = WorkerSettings(data_dir=root, models=models, progress_seconds=0.0, **FAKES)
        threads = [threading.Thread(target=server.run), threading.Thread(target=_work, args=[app_state, worker, stop])]
        for thread in threads:
            thread.start()
        eventually(lambda: server.started)
        try:
            yield Live(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", key)
        finally:
            app_state.shutting_down.set()
            stop.set()
            server.should_exit = True
            for thread in threads:
                thread.join()
            app_state.database.close()


def _work(app_state: AppState, settings: WorkerSettings, stop: threading.Event) -> None:
    """Do every job as soon as it is there, dry runs first: somebody waits for them."""
    runner = Runner(settings, app_state.database, app_state.blobs, app_state.registry)
    while not stop.wait(0.02):
        with app_state.database.read() as session:
            due = [bell.job_id for bell in outbox.due(session, now=utc_now())]
        for job_id in sorted(due, reverse=True)[:1]:
            runner.run(job_id)
