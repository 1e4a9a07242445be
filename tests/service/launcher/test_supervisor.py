"""Children are restarted, stopped with their descendants, and killed when the launcher dies."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.launcher.errors import LaunchError
from service.launcher.supervisor import ChildProcess, Program, Supervisor

FOREVER = "import time; time.sleep(60)"


def program(code: str, **options: object) -> Program:
    return Program("child", [sys.executable, "-c", code], os.environ, **options)  # type: ignore[arg-type]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def wait_until(condition: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def pid_in(path: Path) -> int:
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


def test_exited_child_is_restarted_and_reported(tmp_path: Path) -> None:
    starts: list[int] = []
    reports: list[str] = []
    child = ChildProcess(program(FOREVER, before_start=lambda: starts.append(1)), tmp_path, report=reports.append)
    child.start()
    assert child.process
    first = child.process.pid
    os.kill(first, signal.SIGKILL)

    def has_restarted() -> bool:
        child.poll()
        return child.process is not None and child.process.pid != first

    wait_until(has_restarted)
    child.stop()
    assert starts == [1, 1]
    log = tmp_path / "child.log"
    assert reports == [f"The child process ended (signal 9) and is started again in 0.5 s. Its log is {log}."]


def test_crash_loop_raises_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.launcher.supervisor.MAX_RESTART_DELAY_SECONDS", 0.0)
    child = ChildProcess(program("raise SystemExit('no such thing')"), tmp_path)
    child.start()

    def give_up() -> bool:
        child.poll()
        return False

    with pytest.raises(LaunchError, match="no such thing"):
        wait_until(give_up)


def test_stop_kills_descendants(tmp_path: Path) -> None:
    code = f"""
import subprocess, sys, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", {FOREVER!r}])
print(child.pid, file=open({str(tmp_path / "pid")!r}, "w"))
time.sleep(60)
"""
    supervisor = Supervisor(tmp_path)
    supervisor.start(program(code, grace_seconds=0.1))
    grandchild = pid_in(tmp_path / "pid")
    supervisor.stop()
    wait_until(lambda: not alive(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_children_die_with_a_killed_launcher(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from service.launcher.supervisor import ChildProcess, Program
child = ChildProcess(Program("child", [sys.executable, "-c", {FOREVER!r}], os.environ), Path({str(tmp_path)!r}))
child.start()
print(child.process.pid, file=open({str(tmp_path / "pid")!r}, "w"))
time.sleep(60)
"""
    root = str(Path(__file__).parents[3])
    launcher = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": root})
    child = pid_in(tmp_path / "pid")
    launcher.kill()
    launcher.wait()
    wait_until(lambda: not alive(child))
