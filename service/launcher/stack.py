"""One data folder, one process tree, one URL."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from service.launcher import broker
from service.launcher.data_folder import DataFolder
from service.launcher.errors import LaunchError
from service.launcher.settings import LauncherSettings
from service.launcher.supervisor import POLL_SECONDS, Program, Supervisor
from service.launcher.tls import Exposure
from service.store import base_model_registration, encryption, lease_reaper
from service.store.celery_config import QUEUE, QUICK_QUEUE
from service.store.clock import utc_now
from service.store.database import Database
from service.store.errors import StoreUnavailable
from service.store.settings import StoreSettings

WORKER_NAME = "up"
QUICK_WORKER_NAME = "up-quick"
"""Only one launcher can hold a data folder: a name for each of its workers is enough."""
TWO_WORKERS: dict[str, dict[str, str]] = {
    WORKER_NAME: {"EXPUNGE_QUEUES": QUEUE},
    QUICK_WORKER_NAME: {"EXPUNGE_QUEUES": QUICK_QUEUE},
}
"""Each has its own: a dry run finds the one that is ready for it, and no edit waits for one."""
WORKER_NICE = 5
"""The API answers first; a worker that has the cores to itself is no slower for it."""
READY_SECONDS = 60.0


@dataclass(frozen=True)
class Options:
    """What `expunge up` was asked for."""

    data_dir: Path
    host: str
    port: int
    exposure: Exposure = field(default_factory=Exposure)


@contextmanager
def running(options: Options, stop: threading.Event) -> Iterator[tuple[dict[str, str | int], Supervisor]]:
    """The whole stack: up and ready inside of the `with`, gone after it. Raises `LaunchError`."""
    options.exposure.check(options.host)
    folder = DataFolder(options.data_dir)
    with folder.locked(), _listening(options) as listener, folder.socket_path() as broker_socket:
        settings = LauncherSettings(data_dir=folder.root)
        supervisor = Supervisor(folder.log_dir, settings.healthy_seconds)
        try:
            env = _environment(settings, _start_broker(supervisor, folder, broker_socket))
            database = settings.database()
            if not settings.secrets_key:
                encryption.make_key(settings.secrets_file)
            database.prepare(sealer=settings.secret_box)
            folder.key(database)
            _register_embedded(settings, database)
            _make_signing_key(settings, folder)
            workers = TWO_WORKERS if settings.quick_worker else {WORKER_NAME: {}}
            for program in _programs(env, listener, database, options.exposure, workers):
                supervisor.start(program)
            url = _url(options.host, listener.getsockname()[1], options.exposure)
            _wait_until_ready(url, supervisor, stop)
            with folder.announced(url) as found:
                yield found, supervisor
        finally:
            supervisor.stop()


@contextmanager
def _listening(options: Options) -> Iterator[socket.socket]:
    """The API's socket. Ours, so that requests wait in it while the API restarts."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, options.port))
        except OSError as error:
            raise LaunchError(
                f"cannot listen on {options.host}:{options.port}: {error.strerror}.",
                remedy="Choose another port with --port; 0 takes a free one.",
            ) from error
        listener.listen(128)
        yield listener


def _url(host: str, port: int, exposure: Exposure) -> str:
    """Where a client on this machine reaches it."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if exposure.tls else "http"
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"


def _start_broker(supervisor: Supervisor, folder: DataFolder, broker_socket: Path) -> str:
    """The broker's URL: REDIS_URL, or a server of our own."""
    if given := os.environ.get("REDIS_URL"):
        return given
    command = broker.command(broker.find_server(), folder.broker_dir, broker_socket)
    supervisor.start(Program("broker", command, os.environ))
    broker.wait(broker_socket)
    return broker.url(broker_socket)


def _environment(settings: StoreSettings, broker_url: str) -> dict[str, str]:
    """Ours, plus what all children must agree on."""
    models = _embedded_models() | {name: str(path) for name, path in settings.models.items()}
    return {
        **os.environ,
        "EXPUNGE_DATA_DIR": str(settings.data_dir),
        "EXPUNGE_BROKER_URL": broker_url,
        "EXPUNGE_MODELS": json.dumps(models),
        "EXPUNGE_SIGNING_DIR": str(settings.signing_dir or settings.data_dir / "signing"),
        "REMAP_SIGTERM": "SIGQUIT",  # a worker that is told to stop does not wait for its job to end
        "PYTHONUNBUFFERED": "1",
    }


def _embedded_models() -> dict[str, str]:
    """`emoji`, where the editor is installed. Its package is found, not imported: it would bring torch."""
    spec = importlib.util.find_spec("editor")
    if spec is None or not spec.origin:
        return {}
    return {"emoji": str(Path(spec.origin).with_name("emoji") / "weights")}


def _register_embedded(settings: StoreSettings, database: Database) -> None:
    """Have its files hashed, unless somebody calls another model so: quick, and but once."""
    for name, path in _embedded_models().items():
        if name not in settings.models:
            base_model_registration.register(database, name, Path(path), utc_now())


def _make_signing_key(settings: StoreSettings, folder: DataFolder) -> None:
    """At the first start, unless somebody brings a key: what is published is signed. Raises `LaunchError`."""
    brought = settings.signing_dir or os.environ.get("EXPUNGE_SIGNING_KEY")
    if brought or folder.signing_dir.exists() or importlib.util.find_spec("cryptography") is None:
        return
    command = [sys.executable, "-m", "editor.publishing.attestation", str(folder.signing_dir)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise LaunchError("no signing key can be made.", remedy=made.stderr.strip().splitlines()[-1])


def _programs(
    env: dict[str, str],
    listener: socket.socket,
    database: Database,
    exposure: Exposure,
    workers: Mapping[str, dict[str, str]],
) -> list[Program]:
    """In the order of their start."""
    descriptor = listener.fileno()

    def free_jobs(name: str) -> None:
        with suppress(StoreUnavailable), database.write() as session:  # then their lease ends, by and by
            lease_reaper.expire_leases_of(session, name, now=utc_now())

    return [
        Program("dispatcher", [sys.executable, "-m", "service.dispatcher"], env),
        *(_worker(name, env | own, partial(free_jobs, name)) for name, own in workers.items()),
        Program(
            "api",
            [sys.executable, "-m", "service.server", "--fd", str(descriptor), *exposure.arguments()],
            env,
            pass_fds=[descriptor],
        ),
    ]


def _worker(name: str, env: dict[str, str], free_jobs: Callable[[], None]) -> Program:
    """The one that does everything, or the one that is always free for a dry run."""
    program, command = "quick-worker" if name == QUICK_WORKER_NAME else "worker", [sys.executable, "-m", "worker"]
    own = env | {"EXPUNGE_WORKER_NAME": name}
    return Program(program, command, own, grace=10.0, before_start=free_jobs, nice=WORKER_NICE)


def _wait_until_ready(url: str, supervisor: Supervisor, stop: threading.Event) -> None:
    """Return when the API says that it can work, or `stop` is set."""
    deadline = time.monotonic() + READY_SECONDS
    while not stop.is_set() and not _is_ready(url):
        supervisor.tend()
        if time.monotonic() > deadline:
            raise LaunchError("the service does not get ready.", remedy="See the logs in the data folder.")
        time.sleep(POLL_SECONDS)


def _is_ready(url: str) -> bool:
    try:
        ours = httpx.get(f"{url}/readyz", timeout=2.0, trust_env=False, verify=False)  # the certificate is for others
        return ours.is_success
    except httpx.TransportError:
        return False
