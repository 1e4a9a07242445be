"""`python -m worker --once JOB`, on a real store and as real processes where signals matter."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from api_schemas.errors import WRONG_INPUT, UsageError
from service.store import claims, jobs
from service.store.clock import utc_now
from service.store.database import Database, sqlite_url
from service.store.orm import Job
from tests.fakes.stack import environment, wait_until
from worker.once import DONE, REFUSED, RETRY, run_once
from worker.settings import WorkerSettings

Submit = Callable[..., str]
Read = Callable[[str], Job]

pytestmark = pytest.mark.usefixtures("database")


def start(settings: WorkerSettings, job_id: str) -> "subprocess.Popen[str]":
    """Start a worker process for one job."""
    env = environment(
        EXPUNGE_DATA_DIR=str(settings.data_dir),
        EXPUNGE_MODELS_DIR=str(settings.data_dir / "models"),
        EXPUNGE_LEASE_SECONDS="2",
    )
    return subprocess.Popen(
        [sys.executable, "-m", "worker", "--once", job_id], env=env, text=True, stderr=subprocess.PIPE
    )


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors


def test_job_runs_to_its_end_and_a_second_start_does_nothing(
    settings: WorkerSettings, submit: Submit, read: Read
) -> None:
    job_id = submit()
    code, errors = finish(start(settings, job_id))
    assert code == DONE, errors
    job = read(job_id)
    assert (job.status, job.verdict, job.attempt, job.fence) == ("succeeded", "passed", 1, 1)
    assert job.artifacts
    assert run_once(settings, job_id) == DONE
    assert read(job_id).fence == 1


def test_refused_job_is_not_to_be_started_again(settings: WorkerSettings, submit: Submit, read: Read) -> None:
    job_id = submit(refuse="edit")
    assert run_once(settings, job_id) == REFUSED
    assert read(job_id).status == "failed"
    assert run_once(settings, job_id) == DONE


def test_crashed_job_is_to_be_started_again_until_its_attempts_are_used_up(
    settings: WorkerSettings, submit: Submit, read: Read
) -> None:
    job_id = submit(crash="edit")
    assert [run_once(settings, job_id) for _ in range(jobs.MAX_ATTEMPTS)] == [RETRY, RETRY, REFUSED]
    assert (read(job_id).status, read(job_id).attempt) == ("failed", jobs.MAX_ATTEMPTS)


def test_canceled_job_counts_as_ended(settings: WorkerSettings, submit: Submit, database: Database) -> None:
    job_id = submit()
    with database.write() as session:
        jobs.cancel(session, job_id, now=utc_now())
    assert run_once(settings, job_id) == DONE


def test_job_of_another_worker_is_left_alone(
    settings: WorkerSettings, submit: Submit, database: Database, read: Read
) -> None:
    job_id = submit()
    with database.write() as session:
        claims.claim(session, job_id, owner="other", lease=settings.lease, now=utc_now())
    assert run_once(settings, job_id) == RETRY
    assert (read(job_id).status, read(job_id).fence) == ("running", 1)


def test_job_runs_whatever_is_before_it_in_the_queue(settings: WorkerSettings, submit: Submit, read: Read) -> None:
    first, second = submit(), submit()
    assert run_once(settings, second) == DONE
    assert (read(first).status, read(second).status) == ("queued", "succeeded")


def test_unknown_job_is_wrong_input(settings: WorkerSettings) -> None:
    with pytest.raises(UsageError, match="There is no job edit_1"):
        run_once(settings, "edit_1")


def test_unavailable_database_is_to_be_tried_again(settings: WorkerSettings, tmp_path: Path) -> None:
    away = settings.model_copy(update={"database_url": sqlite_url(tmp_path / "no" / "folder" / "x.db")})
    assert run_once(away, "edit_1") == RETRY


def test_time_limit_fails_the_job(
    settings: WorkerSettings, submit: Submit, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.once.SOFT_LIMIT_MARGIN_SECONDS", settings.hard_limit_seconds - 0.3)
    job_id = submit(slow="10")
    assert run_once(settings, job_id) == REFUSED
    error = read(job_id).error
    assert error
    assert error["code"] == "time_limit_exceeded"
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_evicted_job_is_queued_again_and_resumed(settings: WorkerSettings, submit: Submit, read: Read) -> None:
    job_id = submit(slow="60", slow_in="edit")
    process = start(settings, job_id)
    wait_until(lambda: read(job_id).phase == "edit")
    process.terminate()
    assert finish(process)[0] == RETRY
    job = read(job_id)
    assert (job.status, job.attempt, job.lease_owner) == ("queued", 0, None)
    assert (settings.workdir(job_id) / "trace").exists()


def test_killed_job_is_taken_over_after_its_lease(settings: WorkerSettings, submit: Submit, read: Read) -> None:
    """The other process claims with a higher fence once the lease has expired, without a dispatcher."""
    job_id = submit(slow="60", slow_in="edit")
    process = start(settings, job_id)
    wait_until(lambda: read(job_id).phase == "edit")
    assert run_once(settings, job_id) == RETRY
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (settings.workdir(job_id) / "edit").write_text("done")  # so that the resumed attempt is fast
    wait_until(lambda: run_once(settings, job_id) == DONE, 10)
    assert (read(job_id).status, read(job_id).fence) == ("succeeded", 2)


def test_guide_names_the_exit_codes() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "schedulers.md").read_text()
    assert re.findall(r"^\| (\d+) \|", page, re.MULTILINE) == [
        str(code) for code in (DONE, REFUSED, RETRY, WRONG_INPUT)
    ]
    (manifest,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    job = yaml.safe_load(manifest)
    assert job["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [WRONG_INPUT, REFUSED]
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"][:-1] == ["python", "-m", "worker", "--once"]
