"""Turns the editor's frequent progress calls into a few durable events."""

import time
from collections.abc import Sequence
from typing import Any

from api_schemas.events import EventType
from api_schemas.plans import PlanEstimate, describe_estimate
from service.store import claims
from service.store.claims import Claim
from service.store.clock import Clock, utc_now
from service.store.database import Database
from service.store.samples import NewSample
from worker.lease import Lease

PHASE_SHARES = {"calibrate": 0.95, "generate": 0.95, "trace": 0.15, "edit": 0.05, "validate": 0.75, "publish": 0.05}
"""Approximate share of each phase in a job's run time. Phases that are not listed count like `edit`."""


class ProgressReporter:
    """The editor's progress callback. Checks the lease at each call, and writes news at most once in `interval` seconds."""

    def __init__(
        self,
        database: Database,
        claim: Claim,
        lease: Lease,
        interval: float,
        clock: Clock = utc_now,
    ) -> None:
        self.phases: Sequence[str] = ()
        self.phase: str | None = None
        self._database = database
        self._claim = claim
        self._lease = lease
        self._interval = interval
        self._clock = clock
        self._written = -float("inf")
        self._last_news: tuple[str, float, str] | None = None
        self._fraction = 0.0

    def start_phase(self, phase: str) -> None:
        """Record the start of a phase. Always written."""
        self.phase, self._fraction = phase, 0.0
        self._write("phase", phase, 0.0, phase)

    def __call__(self, phase: str, fraction: float, message: str) -> None:
        """Record progress. Raises `LeaseLost`, `JobCanceled`."""
        self.check()
        self._fraction = fraction
        news = (phase, round(fraction, 4), message)
        if news != self._last_news and time.monotonic() - self._written >= self._interval:
            self._last_news = news
            self._write("progress", phase, fraction, message)

    def report_estimate(self, estimate: PlanEstimate) -> None:
        """Record what the job is estimated to cost. Always written, with the figures as `data.estimate`."""
        message = f"estimate: {describe_estimate(estimate)}"
        self._write("progress", self.phase or self.phases[0], 0.0, message, estimate=estimate.model_dump())

    def report_samples(self, new: Sequence[NewSample]) -> None:
        """Record sample images. Always written; raises `LeaseLost`, `JobCanceled`."""
        phase = self.phase or self.phases[0]
        done = overall_progress(self.phases, phase, self._fraction)
        with self._database.write() as session:
            status = claims.report_samples(session, self._claim, new, phase=phase, progress=done, now=self._clock())
        self._lease.update_status(status)

    def check(self) -> None:
        """Raise `LeaseLost` or `JobCanceled` if the job must stop."""
        self._lease.check()

    def _write(self, kind: EventType, phase: str, fraction: float, message: str, **data: Any) -> None:
        self._written = time.monotonic()
        done = overall_progress(self.phases, phase, fraction)
        with self._database.write() as session:
            status = claims.report_progress(
                session, self._claim, kind, message, phase=phase, progress=done, now=self._clock(), **data
            )
        self._lease.update_status(status)


def overall_progress(phases: Sequence[str], phase: str, fraction: float) -> float:
    """Return the fraction of the whole job that is done when `fraction` of `phase` is done."""
    shares = {name: PHASE_SHARES.get(name, PHASE_SHARES["edit"]) for name in phases}
    before = sum(shares[name] for name in phases[: phases.index(phase)])
    return min(1.0, (before + shares[phase] * min(max(fraction, 0.0), 1.0)) / sum(shares.values()))
