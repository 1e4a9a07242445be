"""`expunge up` as real processes on a temporary folder, with the fake editor."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from api_schemas.client import Client, EditJob
from api_schemas.edits import EditRequest, Removal
from api_schemas.jobs import Edit
from tests.fakes.model import write_model

ROOT = Path(__file__).parents[2]
RUN = "import typer; from api_schemas.cli.main import run; from {} import {} as f; a = typer.Typer(); a.command()(f); run(a)"
COMMANDS = {
    "up": ("service.cli.up", "up"),
    "edit": ("api_schemas.cli.edit", "edit"),
    "calibrate": ("api_schemas.cli.calibrate", "calibrate"),
}

ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "EXPUNGE_EDITOR": "tests.fakes.editor",
    "EXPUNGE_REVOKER": "tests.fakes.revoker",
    "EXPUNGE_CALIBRATOR": "tests.fakes.calibrator",
    "EXPUNGE_REGISTRAR": "tests.fakes.registrar",
    "EXPUNGE_CARRIER": "tests.fakes.carrier",
    "EXPUNGE_PLANNER": "tests.fakes.planner",
    "EXPUNGE_PREVIEWER": "tests.fakes.previewer",
    "EXPUNGE_LEASE_SECONDS": "6",
    "EXPUNGE_HEARTBEAT_SECONDS": "0.5",
    "EXPUNGE_PROGRESS_SECONDS": "0.1",
    "EXPUNGE_STREAM_POLL_SECONDS": "0.1",
    "EXPUNGE_RATE_LIMIT": "",
    "EXPUNGE_CASE_UNDO_SECONDS": "8",
    "EXPUNGE_QUICK_WORKER": "false",
    "EXPUNGE_HASH_MODELS": "false",
    "OMP_NUM_THREADS": "1",
}
COMMAND_LINES = {
    "dispatcher": "-m service.dispatcher",
    "api": "-m service.server",
    "worker": "-m worker",
    "child": "--billiard-fork",
    "broker": "broker.sock",
}


def command(name: str, *arguments: str | Path) -> list[str]:
    """Return the command line of `expunge NAME …`, which also works without an installed distribution."""
    return [sys.executable, "-c", RUN.format(*COMMANDS[name]), *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EXPUNGE_", "REDIS_URL"))}
    return kept | ENVIRONMENT | more


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"the condition was not met within {seconds:g} s"
        time.sleep(0.05)


class Stack:
    """A running `expunge up`."""

    def __init__(self, process: "subprocess.Popen[str]", found: dict[str, Any]) -> None:
        self.process = process
        self.data_dir = Path(found["data_dir"])
        self.url = str(found["url"])
        key = Path(found["api_key_file"]).read_text().strip()
        self.authorization = {"Authorization": f"Bearer {key}"}
        self.client = Client(self.url, key)

    def submit(self, **wishes: str) -> EditJob:
        request = EditRequest(model="tiny", removals=[Removal(concept="fox")], metadata=wishes)
        return self.client.edits.create(request)

    def wait_for_phase(self, edit: Edit, phase: str) -> None:
        """Wait until the job is in a phase."""
        wait_until(lambda: self.client.edits.get(edit.id).phase == phase)

    def find_process(self, name: str) -> psutil.Process:
        """Find a process of the stack by its command line."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # The process has ended but was not reaped yet.
                if COMMAND_LINES[name] in " ".join(process.cmdline()):
                    return process
        raise LookupError(name)

    def is_running(self, name: str) -> bool:
        try:
            return bool(self.find_process(name))
        except (LookupError, psutil.NoSuchProcess):
            return False

    def was_replaced(self, name: str, former: psutil.Process) -> bool:
        """Return whether another process has replaced a killed one.

        Looks once, because the process may be reaped in between.
        """
        try:
            return self.find_process(name).pid != former.pid
        except (LookupError, psutil.NoSuchProcess):
            return False


@contextmanager
def running_stack(data_dir: Path, **more: str) -> Iterator[Stack]:
    """Start a stack, stop it in any case, and check that no process is left."""
    if not (models := data_dir.parent / "models").exists():
        write_model(models / "tiny")
    process = subprocess.Popen(
        command("up", "--data-dir", data_dir, "--port", "0", "--json"),
        env=environment(EXPUNGE_MODELS_DIR=str(models), **more),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert line, logs(data_dir)
        stack = Stack(process, json.loads(line))
        with stack.client:
            yield stack
    finally:
        family = child_processes(process)
        process.terminate()
        code = process.wait(30)
    assert_all_ended(family)
    assert code in (0, -9), logs(data_dir)


def child_processes(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    try:
        return psutil.Process(process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def assert_all_ended(processes: Iterable[psutil.Process]) -> None:
    _, alive = psutil.wait_procs(list(processes), timeout=5)
    assert alive == []


def logs(data_dir: Path) -> str:
    return "\n".join(f"== {path.name}\n{path.read_text()[-3000:]}" for path in data_dir.glob("logs/*.log"))
