"""Supervise child processes: restart them when they exit, and stop them when the launcher ends."""

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
from service.launcher.line_copier import LineCopier

POLL_SECONDS = 0.1
HEALTHY_SECONDS = 30.0
MAX_QUICK_EXITS = 5
MAX_RESTART_DELAY_SECONDS = 10.0
_PR_SET_PDEATHSIG = 1


def print_to_stderr(line: str) -> None:
    """Print a line on the console."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


@dataclass(frozen=True)
class Program:
    """A command to supervise.

    `before_start` is called before each start, when no earlier process of the program is alive.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    grace_seconds: float = 8.0
    pass_fds: Sequence[int] = ()
    nice: int = 0
    json_lines: bool = False
    """Whether each line of its output is written to the log as a JSON object."""
    before_start: Callable[[], None] = lambda: None


@dataclass
class ChildProcess:
    """A program and its process. One that ran for `healthy_seconds` does not count as crash-looping."""

    program: Program
    log_dir: Path
    healthy_seconds: float = HEALTHY_SECONDS
    report: Callable[[str], None] = print_to_stderr
    process: "subprocess.Popen[bytes] | None" = None
    started_at: float = 0.0
    quick_exits: int = 0
    restart_at: float = 0.0
    copier: "LineCopier | None" = None

    def start(self) -> None:
        """Start the process in its own process group, so that Ctrl-C reaches only the launcher.

        It stays in the launcher's session: with autogrouping, Linux ignores `nice` between sessions.
        """
        self.program.before_start()
        self.started_at = time.monotonic()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                self.program.command,
                env=dict(self.program.env),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.program.json_lines else log,
                stderr=subprocess.STDOUT,
                pass_fds=self.program.pass_fds,
                process_group=0,
                preexec_fn=_set_parent_death_signal(self.program.nice),  # safe: the launcher has a single thread
            )
        if self.process.stdout:
            self.copier = LineCopier(self.process.stdout, self.log_file, self.program.name)

    def poll(self) -> None:
        """Restart the process if it exited, with exponential backoff. Raises `LaunchError` if it keeps exiting."""
        self._copy_output()
        if self.process is not None and self.process.poll() is not None:
            self._handle_exit(self.process)
        if self.process is None and time.monotonic() >= self.restart_at:
            self.start()

    def stop(self) -> None:
        """Terminate the process, and kill it and its descendants after `grace_seconds`."""
        if self.process is None:
            return
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(self.program.grace_seconds)
        _kill_group(self.process)
        self._copy_output()
        self.process = None

    @property
    def log_file(self) -> Path:
        """The file with its output."""
        return self.log_dir / f"{self.program.name}.log"

    def _handle_exit(self, process: "subprocess.Popen[bytes]") -> None:
        _kill_group(process)
        self._copy_output()
        run_seconds = time.monotonic() - self.started_at
        self.quick_exits = 0 if run_seconds > self.healthy_seconds else self.quick_exits + 1
        self.process = None
        if self.quick_exits > MAX_QUICK_EXITS:
            raise LaunchError(
                f"The {self.program.name} process keeps exiting ({_describe_exit(process.returncode)}). "
                f"Its log ends:\n{self._log_tail()}\n",
                remedy=f"The complete log is {self.log_file}.",
            )
        delay = min(0.25 * 2**self.quick_exits, MAX_RESTART_DELAY_SECONDS)
        self.restart_at = time.monotonic() + delay
        self.report(
            f"The {self.program.name} process ended ({_describe_exit(process.returncode)}) and is started again in "
            f"{delay:g} s. Its log is {self.log_file}."
        )

    def _copy_output(self) -> None:
        if self.copier:
            self.copier.copy()

    def _log_tail(self) -> str:
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-10:])


class Supervisor:
    """Starts processes in order and stops them in reverse order.

    A process that ran for `healthy_seconds` does not count as crash-looping. `report` gets a line about each that ended.
    """

    def __init__(
        self,
        log_dir: Path,
        healthy_seconds: float = HEALTHY_SECONDS,
        report: Callable[[str], None] = print_to_stderr,
    ) -> None:
        self._log_dir = log_dir
        self._healthy_seconds = healthy_seconds
        self._report = report
        self._children: list[ChildProcess] = []

    def start(self, program: Program) -> None:
        """Start a program and supervise it."""
        child = ChildProcess(program, self._log_dir, self._healthy_seconds, self._report)
        self._children.append(child)
        child.start()

    def poll(self) -> None:
        """Restart processes that exited. Raises `LaunchError` if one keeps exiting."""
        for child in self._children:
            child.poll()

    def watch(self, stop: threading.Event) -> None:
        """Supervise the processes until `stop` is set."""
        while not stop.wait(POLL_SECONDS):
            self.poll()

    def stop(self) -> None:
        """Stop all processes."""
        for child in reversed(self._children):
            child.stop()


def _describe_exit(status: int) -> str:
    """Return an exit status in words: Python gives the number of a signal as a negative status."""
    return f"signal {-status}" if status < 0 else f"status {status}"


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process and its descendants."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _set_parent_death_signal(nice: int) -> Callable[[], None] | None:
    """Return a function that sets the child's niceness and has the kernel kill it when the launcher dies. Linux only."""
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def configure_child() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        os.nice(nice)
        if os.getppid() != parent:  # the launcher died before prctl took effect
            os._exit(1)

    return configure_child
