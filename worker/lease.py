"""Keeps a claim alive: a thread extends the lease and learns from the database when the job must stop."""

import logging
import math
import os
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from api_schemas.jobs import Status
from service.store import claims
from service.store.claims import Claim
from service.store.clock import Clock, utc_now
from service.store.database import Database
from worker.errors import JobCanceled, LeaseLost, WorkerStopped
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)


class Lease:
    """Context manager that extends the lease while its block runs.

    If a cancellation is ignored for the grace period, `exit_process` ends the process. Setting `stop` interrupts the job.
    """

    def __init__(
        self,
        database: Database,
        claim: Claim,
        settings: WorkerSettings,
        clock: Clock = utc_now,
        exit_process: Callable[[int], object] = os._exit,
        stop: threading.Event | None = None,
    ) -> None:
        self._database = database
        self._claim = claim
        self._settings = settings
        self._clock = clock
        self._exit_process = exit_process
        self._stop = stop or threading.Event()
        self._status: Status | None = "running"
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._heartbeat_loop, name=f"lease-{claim.job_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def update_status(self, status: Status | None) -> None:
        """Take over the job's status from a fenced write. Raises `LeaseLost`, `JobCanceled`, `WorkerStopped`."""
        self._status = status
        self.check()

    def check(self) -> None:
        """Raise if the job must stop, by its last known status. Cheap enough for every step."""
        if self._status is None:
            raise LeaseLost(f"{self._claim.job_id} was claimed by another worker.")
        if self._status == "canceling":
            raise JobCanceled(f"Cancellation was requested for {self._claim.job_id}.")
        if self._stop.is_set():
            raise WorkerStopped(f"The worker was stopped while it ran {self._claim.job_id}.")

    def _heartbeat_loop(self) -> None:
        deadline: float | None = None
        while not self._stopped.wait(self._seconds_to_next_heartbeat(deadline)):
            self._extend()
            if self._status != "canceling":
                deadline = None
            elif deadline is None:
                deadline = time.monotonic() + self._settings.cancel_grace_seconds
            elif time.monotonic() >= deadline:
                self._cancel_and_exit_process()
                return

    def _seconds_to_next_heartbeat(self, deadline: float | None) -> float:
        """Return the interval, or the shorter time until the grace period ends."""
        left = math.inf if deadline is None else max(0.0, deadline - time.monotonic())
        return min(self._settings.heartbeat_seconds, left)

    def _extend(self) -> None:
        """Extend the lease. Errors are logged and retried at the next heartbeat."""
        try:
            with self._database.write() as session:
                self._status = claims.extend_lease(session, self._claim, lease=self._settings.lease, now=self._clock())
        except Exception:
            log.exception("%s: the heartbeat failed", self._claim.job_id)

    def _cancel_and_exit_process(self) -> None:
        """End the process because the job ignores its cancellation.

        The job is ended first, so a redelivered message does nothing.
        """
        log.warning("%s: cancellation was ignored, ending the process", self._claim.job_id)
        with self._database.write() as session:
            claims.cancel(session, self._claim, now=self._clock())
        self._exit_process(1)
