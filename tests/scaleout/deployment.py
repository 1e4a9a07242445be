"""A scaled-out service: several processes, each with a data folder of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from sqlalchemy import func, select

from api_schemas.jobs import TERMINAL_STATUSES
from service.launcher import broker
from service.store import api_keys, fsck
from service.store.clock import utc_now
from service.store.database import Database
from service.store.orm import Attempt, Job
from service.store.s3 import S3Blobs
from tests.fakes import postgres, s3
from tests.fakes.model import write_model
from tests.fakes.stack import environment, wait_until

API_PROCESSES = 2
TIMEOUT_SECONDS = 600.0


@dataclass
class Deployment:
    """The running processes and the database and bucket that they share."""

    env: dict[str, str]
    folder: Path
    database: Database
    bucket: str
    headers: dict[str, str]
    urls: Sequence[str] = ()
    commands: dict[str, list[str]] = field(default_factory=dict)
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of all processes."""
        return list(self.commands)

    def start(self, name: str) -> None:
        home = self.folder / name
        home.mkdir(exist_ok=True)
        own = {"EXPUNGE_DATA_DIR": str(home), "EXPUNGE_WORKER_NAME": name}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                self.commands[name], env=self.env | own, stdout=log, stderr=log, start_new_session=True
            )

    def restart(self, name: str) -> None:
        """Stop and start a process, as an operator does."""
        self.stop(name)
        self.start(name)

    def stop(self, name: str) -> None:
        process = self.processes[name]
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def submit(self, number: int, sleep: float) -> str:
        """Submit a job whose phases sleep, with retries under one idempotency key."""
        body = {"model": "tiny", "removals": [{"concept": "fox"}], "metadata": {"slow": str(sleep)}}
        headers = self.headers | {"Idempotency-Key": f"{number}-{sleep}-{os.getpid()}"}
        end = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < end:
            try:
                reply = httpx.post(
                    f"{self.urls[number % API_PROCESSES]}/v1/edits", json=body, headers=headers, trust_env=False
                )
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if reply.status_code == 202:
                return str(reply.json()["id"])
            time.sleep(0.2)
        raise TimeoutError(reply.text)

    def warm_up(self) -> None:
        """Run jobs until every worker has done one."""
        workers = [name for name in self.names if name.startswith("worker")]
        wait_until(lambda: all(_answers(url) for url in self.urls), TIMEOUT_SECONDS)
        number = 0
        while len(self._owners()) < len(workers):
            self.wait([self.submit(10_000 + number + n, 0.05) for n in range(len(workers))])
            number += len(workers)

    def wait(self, ids: Sequence[str]) -> None:
        over = select(func.count()).select_from(Job).where(Job.id.in_(ids), Job.status.in_(TERMINAL_STATUSES))

        def done() -> bool:
            with self.database.read() as session:
                return session.scalar(over) == len(ids)

        wait_until(done, TIMEOUT_SECONDS)

    def time_span(self, ids: Sequence[str]) -> tuple[float, float]:
        """Return the start of the first and the end of the last job, in seconds."""
        with self.database.read() as session:
            first, last = session.execute(
                select(func.min(Job.started_at), func.max(Job.finished_at)).where(Job.id.in_(ids))
            ).one()
        return first.timestamp(), last.timestamp()

    def violations(self, ids: Sequence[str]) -> list[str]:
        """Check that each job succeeded and that every published byte is in the bucket."""
        with self.database.read() as session:
            rows = session.scalars(select(Job).where(Job.id.in_(ids))).all()
        found = fsck.inspect(self.database, S3Blobs(self.bucket)).findings
        return [f"{job.id} is {job.status}: {job.error}" for job in rows if job.status != "succeeded"] + [
            f"{finding.code} {finding.subject}" for finding in found
        ]

    def _owners(self) -> set[str]:
        with self.database.read() as session:
            return set(session.scalars(select(Attempt.owner)))


@contextmanager
def deployment(folder: Path, workers: int) -> Iterator[Deployment]:
    """Run two APIs, a dispatcher, the workers and what they share."""
    with ExitStack() as stack:
        server = stack.enter_context(postgres.running_server())
        store = stack.enter_context(s3.running_server())
        os.environ.update(store.variables)
        url, bucket = server.create(), store.create("published")
        queue = _broker(stack, folder)
        env = environment(
            EXPUNGE_DATABASE_URL=url,
            EXPUNGE_BROKER_URL=queue,
            EXPUNGE_BLOBS_URL=bucket,
            EXPUNGE_MODELS_DIR=str(write_model(folder / "models" / "tiny").parent),
            EXPUNGE_RATE_LIMIT="",
            EXPUNGE_MAX_UNFINISHED_JOBS="0",
            EXPUNGE_PROGRESS_SECONDS="1",
            REMAP_SIGTERM="SIGQUIT",
            **store.variables,
        )
        database = Database(url)
        database.prepare()
        key = api_keys.generate_api_key()
        with database.write() as session:
            api_keys.register(session, key, now=utc_now())
        running = Deployment(env, folder, database, bucket, {"Authorization": f"Bearer {key}"})
        ports = [_free_port() for _ in range(API_PROCESSES)]
        running.urls = [f"http://127.0.0.1:{port}" for port in ports]
        for number, port in enumerate(ports):
            running.commands[f"api{number}"] = [sys.executable, "-m", "service.server", "--port", str(port)]
        running.commands["dispatcher"] = [sys.executable, "-m", "service.dispatcher"]
        running.commands |= {f"worker{number}": [sys.executable, "-m", "worker"] for number in range(workers)}
        for name in running.names:
            running.start(name)
            stack.callback(running.stop, name)
        yield running


def _broker(stack: ExitStack, folder: Path) -> str:
    socket = folder / "b.sock"
    process = subprocess.Popen(broker.server_command(broker.find_server(), folder, socket), stdout=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.terminate)
    broker.wait_until_ready(socket)
    return broker.socket_url(socket)


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False, timeout=10).is_success
    except httpx.TransportError:
        return False
