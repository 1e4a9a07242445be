"""Child processes that are restarted when they die and are gone when we are."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.launcher.errors import LaunchError

POLL_SECONDS = 0.1
HEALTHY_SECONDS = 30.0
MAX_QUICK_DEATHS = 5
LONGEST_PAUSE = 10.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Program:
    """What to run. `before_start` is called when no earlier run is alive any more; `nice`: how far others go before it."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    grace: float = 8.0
    pass_fds: Sequence[int] = ()
    nice: int = 0
    before_start: Callable[[], None] = lambda: None


@dataclass
class Child:
    """A program, running or about to be. One that lived for `healthy_seconds` is not in a crash loop."""

    program: Program
    log_dir: Path
    healthy_seconds: float = HEALTHY_SECONDS
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    quick_deaths: int = 0
    restart_at: float = 0.0

    def start(self) -> None:
        """Run it in a group of its own, so that Ctrl-C reaches only us; in our session, as between sessions `nice` counts for
        nothing where Linux groups processes by them."""
        self.program.before_start()
        self.started_at = time.monotonic()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.program.command,
                env=dict(self.program.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=self.program.pass_fds,
                process_group=0,
                preexec_fn=_dies_with_us(self.program.nice),  # we have one thread when we fork
            )

    def tend(self) -> None:
        """Restart it if it died, after a pause that grows. Raises `LaunchError` when it keeps dying."""
        if self.process is not None and self.process.poll() is not None:
            self._bury(self.process)
        if self.process is None and time.monotonic() >= self.restart_at:
            self.start()

    def stop(self) -> None:
        """End it: politely, then by force, with all that it started."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(self.program.grace)
        _kill_group(self.process)
        self.process = None

    @property
    def log_file(self) -> Path:
        """What it prints."""
        return self.log_dir / f"{self.program.name}.log"

    def _bury(self, process: "subprocess.Popen[bytes]") -> None:
        _kill_group(process)
        lived = time.monotonic() - self.started_at
        self.quick_deaths = 0 if lived > self.healthy_seconds else self.quick_deaths + 1
        self.process = None
        if self.quick_deaths > MAX_QUICK_DEATHS:
            raise LaunchError(
                f"the {self.program.name} keeps dying (exit {process.returncode}). Its log ends:\n{self._tail()}\n",
                remedy=f"The whole log is {self.log_file}",
            )
        self.restart_at = time.monotonic() + min(0.25 * 2**self.quick_deaths, LONGEST_PAUSE)

    def _tail(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-10:])


class Supervisor:
    """Children in the order of their start; they stop in the reverse of it.

    A child that lived for `healthy_seconds` is not in a crash loop.
    """

    def __init__(self, log_dir: Path, healthy_seconds: float = HEALTHY_SECONDS) -> None:
        self._log_dir = log_dir
        self._healthy_seconds = healthy_seconds
        self._children: list[Child] = []

    def start(self, program: Program) -> None:
        """Start one more, and tend it from now on."""
        child = Child(program, self._log_dir, self._healthy_seconds)
        self._children.append(child)
        child.start()

    def tend(self) -> None:
        """Restart who died. Raises `LaunchError` when somebody keeps dying."""
        for child in self._children:
            child.tend()

    def watch(self, stop: threading.Event) -> None:
        """Tend the children until `stop` is set."""
        while not stop.wait(POLL_SECONDS):
            self.tend()

    def stop(self) -> None:
        """End all of them."""
        for child in reversed(self._children):
            child.stop()


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Whatever is left of a child and of its children."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _dies_with_us(nice: int) -> Callable[[], None] | None:
    """Have the kernel kill the child when we die, however we die, and let others go before it. Linux only."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.nice(nice)
        if os.getppid() != parent:  # we died before the kernel knew
            os._exit(1)

    return arrange
