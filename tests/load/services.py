"""The two services that are compared, each with one API process, one worker process and the same kind of broker."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from service.launcher import broker
from tests.fakes.stack import ROOT, Stack, environment, running_stack, wait_until

BODY = {"model": "tiny", "removals": [{"concept": "fox"}]}


@dataclass(frozen=True)
class Service:
    """A service under test: its URLs, and how to interpret its jobs."""

    name: str
    url: str
    headers: dict[str, str]
    jobs: str
    file: str
    is_done: Callable[[dict[str, Any]], bool]
    delay: Callable[[dict[str, Any]], float]
    """Seconds from POST until a worker started the finished job."""
    stack: Stack | None = None

    def of(self, job_id: str, what: str = "") -> str:
        return f"{self.url}{self.jobs}/{job_id}{what}"


@contextmanager
def ours(folder: Path) -> Iterator[Service]:
    """Run `expunge up` with all its guarantees and the fake editor."""
    settings = {
        "EXPUNGE_RATE_LIMIT": "",
        "EXPUNGE_MAX_UNFINISHED_JOBS": "0",
        "EXPUNGE_STREAM_POLL_SECONDS": "0.5",
        "EXPUNGE_LEASE_SECONDS": "30",
        "EXPUNGE_JOBS_PER_PROCESS": "10000",  # The fake editor uses no GPU, and the other service keeps its process too.
    }
    with running_stack(folder / "ours" / "data", **settings) as stack:
        file = "/artifacts/delta.safetensors"
        yield Service("ours", stack.url, stack.authorization, "/v1/edits", file, _has_succeeded, _claimed_after, stack)


def _has_succeeded(job: dict[str, Any]) -> bool:
    return bool(job["status"] == "succeeded")


def _claimed_after(job: dict[str, Any]) -> float:
    created, started = (datetime.fromisoformat(job[time]) for time in ("created_at", "started_at"))
    return (started - created).total_seconds()


@contextmanager
def template(folder: Path) -> Iterator[Service]:
    """Run the plain app."""
    home, port = folder / "template", _free_port()
    home.mkdir(parents=True)
    socket = home / "b.sock"
    env = environment(TEMPLATE_BROKER=broker.socket_url(socket), TEMPLATE_FOLDER=str(home))
    commands = [
        broker.server_command(broker.find_server(), home, socket),
        [sys.executable, "-m", "celery", "--app", "tests.load.template:queue", "worker", "--concurrency", "1"],
        [sys.executable, "-m", "uvicorn", "tests.load.template:api", "--port", str(port), "--no-access-log"],
    ]
    with ExitStack() as stack:
        for command in commands:
            log = stack.enter_context((home / "log").open("ab"))
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log, cwd=ROOT)
            stack.callback(process.wait)
            stack.callback(process.terminate)
            if command is commands[0]:
                broker.wait_until_ready(socket)
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _answers(url))
        done, delay = lambda job: job["status"] == "SUCCESS", lambda job: float(job["result"]["delay"])
        yield Service("template", url, {}, "/jobs", "/file", done, delay)


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/openapi.json", trust_env=False).is_success
    except httpx.TransportError:
        return False


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
