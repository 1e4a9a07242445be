"""`python -m worker --once JOB`: run one job and exit, for schedulers that start a process for each job.

The scheduler decides when the process runs, and the database whether it may: the process claims the job by its id, with a
fence, as any worker does. So a scheduler may start a job twice, or start a job that has ended.
"""

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from api_schemas.errors import UsageError
from api_schemas.jobs import TERMINAL_STATUSES, Status
from service.store.errors import StoreUnavailable
from worker.app import SOFT_LIMIT_MARGIN_SECONDS
from worker.runner import Runner
from worker.settings import WorkerSettings

DONE, REFUSED, RETRY = 0, 64, 75
"""Exit codes: the job has ended; it failed for good; start it again later (EX_USAGE and EX_TEMPFAIL of sysexits)."""

log = logging.getLogger(__name__)


def run_once(settings: WorkerSettings, job_id: str) -> int:
    """Run a job and return the exit code of the process.

    Raises:
        UsageError: there is no such job.
    """
    runner = Runner.from_settings(settings.model_copy(update={"worker_name": _unique_name(settings)}))
    try:
        if _read_status(runner, job_id) in TERMINAL_STATUSES:
            log.info("%s has ended already", job_id)
            return DONE
        with _stop_on_signals(runner.stop), _limit_run_time(settings.hard_limit_seconds):
            runner.run_job(job_id)
        return _exit_code(_read_status(runner, job_id))
    except StoreUnavailable as error:
        log.error("%s: %s", job_id, error.message)
        return RETRY


def _exit_code(status: Status) -> int:
    """Return the exit code after an attempt. A job that is queued or running then has to be tried again."""
    if status not in TERMINAL_STATUSES:
        return RETRY
    return REFUSED if status == "failed" else DONE


def _read_status(runner: Runner, job_id: str) -> Status:
    status = runner.read_status(job_id)
    if status is None:
        raise UsageError(f"There is no job {job_id}.", remedy="Pass the id of an edit or a dry run of this database.")
    return status


def _unique_name(settings: WorkerSettings) -> str:
    """Return a name for leases that no other process of this machine has: schedulers start several with the same settings."""
    return f"{settings.worker_name or socket.gethostname()}:{os.getpid()}"


@contextmanager
def _stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Stop the job at its next step when the scheduler evicts the process. It is queued again and keeps its finished phases."""

    def handle(*_: Any) -> None:
        stop.set()

    before = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _limit_run_time(seconds: int) -> Iterator[None]:
    """Fail the job before `seconds` are over, as Celery does for its workers, and end the process if it does not react."""

    def fail(*_: Any) -> None:
        raise SoftTimeLimitExceeded

    before = signal.signal(signal.SIGALRM, fail)
    watchdog = threading.Timer(seconds, os._exit, [RETRY])
    watchdog.daemon = True
    watchdog.start()
    signal.setitimer(signal.ITIMER_REAL, seconds - SOFT_LIMIT_MARGIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        watchdog.cancel()
