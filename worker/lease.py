"""Holding a claim: a thread extends it, and learns from the database when the work has to stop."""

import logging
import os
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from api_schemas.jobs import Status
from service.store import claims
from service.store.claims import Claim
from service.store.clock import Clock, utc_now
from service.store.database import Database
from worker.errors import JobCanceled, LeaseLost
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)


class Lease:
    """A context manager around the work on one claim.

    `exit_process` ends work that does not listen: when a cancel has been ignored for its grace time.
    """

    def __init__(
        self,
        database: Database,
        claim: Claim,
        settings: WorkerSettings,
        clock: Clock = utc_now,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        self._database = database
        self._claim = claim
        self._settings = settings
        self._clock = clock
        self._exit_process = exit_process
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
        """A fenced write has returned the job's status: raise if the work has to stop.

        Raises `LeaseLost`, `JobCanceled`.
        """
        self._status = status
        self.check()

    def check(self) -> None:
        """Raise if the work has to stop, from what is known. Costs nothing: call it at every step."""
        if self._status is None:
            raise LeaseLost(f"{self._claim.job_id} belongs to somebody else now.")
        if self._status == "canceling":
            raise JobCanceled(f"{self._claim.job_id} is to stop.")

    def _heartbeat_loop(self) -> None:
        silent = 0.0
        while not self._stopped.wait(self._settings.heartbeat_seconds):
            self._extend()
            silent = silent + self._settings.heartbeat_seconds if self._status == "canceling" else 0.0
            if silent > self._settings.cancel_grace_seconds:
                self._abandon()
                return

    def _extend(self) -> None:
        """Extend the lease. A database that is away for a moment is no reason to give up."""
        try:
            with self._database.write() as session:
                self._status = claims.extend_lease(session, self._claim, lease=self._settings.lease, now=self._clock())
        except Exception:
            log.exception("%s: the heartbeat failed", self._claim.job_id)

    def _abandon(self) -> None:
        """The work does not listen. The row ends first, so that the message that comes back does nothing."""
        log.warning("%s: ignores its cancel, ending the process", self._claim.job_id)
        with self._database.write() as session:
            claims.cancel(session, self._claim, now=self._clock())
        self._exit_process(1)
