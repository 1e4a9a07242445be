"""Start all processes of the service on one data folder."""

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
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import httpx

from service.launcher import broker
from service.launcher.data_folder import DataFolder
from service.launcher.errors import LaunchError
from service.launcher.settings import LauncherSettings
from service.launcher.supervisor import POLL_SECONDS, Program, Supervisor
from service.launcher.tls import ListenPolicy
from service.store import encryption, lease_reaper, registered_files
from service.store.celery_config import EDIT_QUEUE, PLAN_QUEUE
from service.store.clock import utc_now
from service.store.database import Database
from service.store.errors import StoreUnavailable
from service.store.settings import StoreSettings

WORKER_NAME = "up"
QUICK_WORKER_NAME = "up-quick"
"""Worker names need not be unique across launchers, because only one launcher can lock a data folder."""
WORKER_ENVIRONMENTS: dict[str, dict[str, str]] = {
    WORKER_NAME: {"EXPUNGE_QUEUES": EDIT_QUEUE},
    QUICK_WORKER_NAME: {"EXPUNGE_QUEUES": PLAN_QUEUE},
}
"""Edits and dry runs have a worker each, so that neither waits for the other."""
WORKER_NICE = 5
"""Gives the API a higher CPU priority than the workers. It costs a worker nothing while other processes are idle."""
READY_TIMEOUT_SECONDS = 60.0
API_NAME = "api"
"""The API writes its log itself, because it logs every request and must not wait for the launcher."""


@dataclass(frozen=True)
class LaunchOptions:
    """The options of `expunge up`."""

    data_dir: Path
    host: str
    port: int
    listen_policy: ListenPolicy = field(default_factory=ListenPolicy)


@contextmanager
def run_stack(options: LaunchOptions, stop: threading.Event) -> Iterator[tuple[dict[str, str | int], Supervisor]]:
    """Context manager: start the service, wait until it is ready, and stop it at the end.

    Raises:
        LaunchError: a process does not start or does not keep running.
        UsageError: the listen address or the certificate is unusable.
    """
    options.listen_policy.check(options.host)
    folder = DataFolder(options.data_dir)
    with folder.lock(), _bind_listener(options) as listener, folder.socket_path() as broker_socket:
        settings = LauncherSettings(data_dir=folder.root)
        supervisor = Supervisor(folder.log_dir, settings.healthy_seconds)
        try:
            env = _child_environment(settings, _start_broker(supervisor, folder, broker_socket, settings))
            database = settings.database()
            if not settings.secrets_key:
                encryption.ensure_key_file(settings.secrets_file)
            database.prepare(secret_box=settings.secret_box)
            folder.ensure_api_key(database)
            _register_embedded_models(settings, database)
            _make_signing_key(settings, folder)
            workers = WORKER_ENVIRONMENTS if settings.quick_worker else {WORKER_NAME: {}}
            for program in _build_programs(env, listener, database, options.listen_policy, workers):
                supervisor.start(
                    replace(program, json_lines=settings.log_format == "json" and program.name != API_NAME)
                )
            url = _service_url(options.host, listener.getsockname()[1], options.listen_policy)
            _wait_until_ready(url, supervisor, stop)
            with folder.announce(url) as announcement:
                yield announcement, supervisor
        finally:
            supervisor.stop()


@contextmanager
def _bind_listener(options: LaunchOptions) -> Iterator[socket.socket]:
    """Yield the API's socket. The launcher owns it, so that requests wait in it while the API restarts."""
    family = socket.AF_INET6 if ":" in options.host else socket.AF_INET
    with socket.socket(family) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((options.host, options.port))
        except OSError as error:
            raise LaunchError(
                f"Cannot listen on {options.host}:{options.port}: {error.strerror}.",
                remedy="Choose another port with --port; 0 selects a free one.",
            ) from error
        listener.listen(128)
        yield listener


def _service_url(host: str, port: int, listen_policy: ListenPolicy) -> str:
    """Return the URL for clients on this machine."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if listen_policy.tls else "http"
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"


def _start_broker(supervisor: Supervisor, folder: DataFolder, broker_socket: Path, settings: LauncherSettings) -> str:
    """Return the broker's URL: REDIS_URL, or that of a server that is started here."""
    if url := os.environ.get("REDIS_URL"):
        return url
    command = broker.server_command(broker.find_server(), folder.broker_dir, broker_socket)
    supervisor.start(Program("broker", command, os.environ, json_lines=settings.log_format == "json"))
    broker.wait_until_ready(broker_socket)
    return broker.socket_url(broker_socket)


def _child_environment(settings: StoreSettings, broker_url: str) -> dict[str, str]:
    """Return the environment of the processes: that of the launcher, plus the settings that all must share."""
    models = _find_embedded_models() | {name: str(path) for name, path in settings.models.items()}
    return {
        **os.environ,
        "EXPUNGE_DATA_DIR": str(settings.data_dir),
        "EXPUNGE_BROKER_URL": broker_url,
        "EXPUNGE_MODELS": json.dumps(models),
        "EXPUNGE_SIGNING_DIR": str(settings.signing_dir or settings.data_dir / "signing"),
        "REMAP_SIGTERM": "SIGQUIT",  # a worker that is stopped does not wait for its job to end
        "PYTHONUNBUFFERED": "1",
    }


def _find_embedded_models() -> dict[str, str]:
    """Return the embedded models if the editor is installed. It is located without an import, which would load torch."""
    spec = importlib.util.find_spec("editor")
    if spec is None or not spec.origin:
        return {}
    folder = Path(spec.origin).with_name("emoji")
    return {"emoji": str(folder / "weights"), "emoji-dit": str(folder / "dit_weights")}


def _register_embedded_models(settings: StoreSettings, database: Database) -> None:
    """Register the embedded models, unless the settings give the name to another model."""
    for name, path in _find_embedded_models().items():
        if name not in settings.models:
            registered_files.register_model(database, name, Path(path), utc_now())


def _make_signing_key(settings: StoreSettings, folder: DataFolder) -> None:
    """Make a signing key at the first start, unless the operator has configured one. Raises `LaunchError`."""
    configured = settings.signing_dir or os.environ.get("EXPUNGE_SIGNING_KEY")
    if configured or folder.signing_dir.exists() or importlib.util.find_spec("cryptography") is None:
        return
    command = [sys.executable, "-m", "editor.publishing.attestation", str(folder.signing_dir)]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise LaunchError("Could not create the signing key.", remedy=process.stderr.strip().splitlines()[-1])


def _build_programs(
    env: dict[str, str],
    listener: socket.socket,
    database: Database,
    listen_policy: ListenPolicy,
    workers: Mapping[str, dict[str, str]],
) -> list[Program]:
    """Return the programs in the order in which they are started."""
    descriptor = listener.fileno()

    def release_jobs(name: str) -> None:
        with suppress(StoreUnavailable), database.write() as session:  # without the database, the leases expire later
            lease_reaper.expire_leases_of(session, name, now=utc_now())

    return [
        Program("dispatcher", [sys.executable, "-m", "service.dispatcher"], env),
        *(_build_worker_program(name, env | own, partial(release_jobs, name)) for name, own in workers.items()),
        Program(
            API_NAME,
            [sys.executable, "-m", "service.server", "--fd", str(descriptor), *listen_policy.arguments()],
            env,
            pass_fds=[descriptor],
        ),
    ]


def _build_worker_program(name: str, env: dict[str, str], release_jobs: Callable[[], None]) -> Program:
    """Return the program of the worker for edits or of the one for dry runs."""
    process_name, command = "quick-worker" if name == QUICK_WORKER_NAME else "worker", [sys.executable, "-m", "worker"]
    own = env | {"EXPUNGE_WORKER_NAME": name}
    return Program(process_name, command, own, grace_seconds=10.0, before_start=release_jobs, nice=WORKER_NICE)


def _wait_until_ready(url: str, supervisor: Supervisor, stop: threading.Event) -> None:
    """Wait until the API is ready or `stop` is set. Raises `LaunchError` after `READY_TIMEOUT_SECONDS`."""
    deadline = time.monotonic() + READY_TIMEOUT_SECONDS
    while not stop.is_set() and not _is_ready(url):
        supervisor.poll()
        if time.monotonic() > deadline:
            raise LaunchError(
                f"The service was not ready within {READY_TIMEOUT_SECONDS:g} s.",
                remedy="See the logs in the data folder.",
            )
        time.sleep(POLL_SECONDS)


def _is_ready(url: str) -> bool:
    try:
        # The certificate is not verified, because it names the public host.
        return httpx.get(f"{url}/readyz", timeout=2.0, trust_env=False, verify=False).is_success
    except httpx.TransportError:
        return False
