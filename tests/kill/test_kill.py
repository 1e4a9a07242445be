"""Killed and paused processes, as a client sees them. `test_matrix` covers the other failpoints and processes."""

import hashlib
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from api_schemas.jobs import Edit
from tests.fakes.stack import Stack, child_processes, environment, running_stack, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("kill") / "data") as stack:
        yield stack


def assert_finished_once(stack: Stack, submitted: Edit, folder: Path) -> Edit:
    """Check for one complete result and a history without gaps."""
    edit = stack.client.edits.get(submitted.id).wait()
    history = list(stack.client.edits.events(edit.id))
    assert [event.seq for event in history] == list(range(1, len(history) + 1))
    ends = [event for event in history if event.data.get("status") == "succeeded"]
    assert len(ends) == 1
    assert ends[0] is history[-1]
    names = Counter(file.name for file in edit.artifacts)
    assert set(names.values()) == {1}
    assert len(names) == 7, "six files of the editor, and the manifest"
    for path, file in zip(edit.download(folder), edit.artifacts, strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == file.sha256
    assert_store_is_sound(stack.data_dir)
    return edit


def assert_store_is_sound(data_dir: Path) -> None:
    """Check that every attempt has its own fence and that every blob matches its name."""
    with sqlite3.connect(data_dir / "expunge.db") as database:
        rows = database.execute(
            "SELECT jobs.fence, COUNT(attempts.fence) FROM jobs JOIN attempts ON id = job_id GROUP BY id"
        )
        assert all(fence == attempts for fence, attempts in rows)
    for blob in (data_dir / "blobs" / "sha256").glob("*/*"):
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_killed_worker_resumes_at_its_phase(stack: Stack, tmp_path: Path) -> None:
    edit = stack.submit(slow="0.6")
    stack.wait_for_phase(edit, "validate")
    stack.find_process("child").kill()
    done = assert_finished_once(stack, edit, tmp_path)
    assert done.attempt == 2
    assert Counter((tmp_path / "runs.txt").read_text().split())["trace"] == 1, "a finished phase is not run again"


def test_killed_launcher_leaves_no_processes_and_resumes(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data") as stack:
        edit = stack.submit(slow="0.6")
        stack.wait_for_phase(edit, "edit")
        family = child_processes(stack.process)
        stack.process.kill()
        _, alive = psutil.wait_procs(family, timeout=5)
        assert alive == []
    with running_stack(tmp_path / "data") as stack:
        assert assert_finished_once(stack, edit, tmp_path / "out").attempt == 2


def suspend_between_writes(stack: Stack, processes: list[psutil.Process]) -> None:
    """Suspend processes while none of them is in a transaction: SQLite has one write lock, which nobody else could take."""

    def is_suspended() -> bool:
        for process in processes:
            process.suspend()
        if is_writable(stack):
            return True
        for process in processes:
            process.resume()
        return False

    wait_until(is_suspended)


def is_writable(stack: Stack) -> bool:
    """Whether no transaction writes to the database."""
    connection = sqlite3.connect(stack.data_dir / "expunge.db", timeout=0.2, isolation_level=None)
    try:
        connection.execute("begin immediate")
        connection.rollback()
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


def test_paused_worker_cannot_overwrite_its_successor(stack: Stack, tmp_path: Path) -> None:
    """The lease of a stopped worker ends, another worker finishes the job, and the first one resumes and tries to write."""
    edit = stack.submit(slow="0.6")
    stack.wait_for_phase(edit, "edit")
    zombie = [stack.find_process("worker"), stack.find_process("child")]
    suspend_between_writes(stack, zombie)
    name = {"EXPUNGE_WORKER_NAME": "another"}
    inherited = {key: value for key, value in zombie[0].environ().items() if key.startswith("EXPUNGE_")}
    other = subprocess.Popen([sys.executable, "-m", "worker"], env=environment(**inherited | name))
    try:
        done = assert_finished_once(stack, edit, tmp_path)
        assert done.attempt == 2
    finally:
        for process in zombie:
            process.resume()
        other.kill()
        other.wait()
    log = stack.data_dir / "logs" / "worker.log"
    wait_until(lambda: f"{edit.id}: the lease was lost to another worker" in log.read_text())
    assert stack.client.edits.get(edit.id).model_dump() == done.model_dump()
