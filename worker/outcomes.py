"""Records how a run has ended: in the job's row, with what it produced, all in one fenced transaction."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from sqlalchemy.orm import Session

from api_schemas.jobs import JobError
from api_schemas.report import Verdict
from service.store import calibrations, claims, fleets, ledgers, model_registrations
from service.store.base_models import ModelRegistry
from service.store.calibrations import NewCalibration
from service.store.claims import Claim, StoredArtifact
from service.store.clock import Clock
from service.store.database import Database
from service.store.failpoints import failpoint
from service.store.ledgers import NextRevision
from service.store.model_registrations import NewDescription
from service.store.orm import Job
from worker import db_retry, job_errors
from worker.settings import WorkerSettings

T = TypeVar("T")


@dataclass(frozen=True)
class RunResult:
    """The result of a run: its files are in the blob store but not yet published."""

    files: list[StoredArtifact]
    verdict: Verdict | None = None
    next_revision: NextRevision | None = None
    calibration: NewCalibration | None = None
    description: NewDescription | None = None
    is_carried: bool = False
    """Whether the delta of another edit was carried over."""


@dataclass(frozen=True)
class OutcomeRecorder:
    """Records the outcomes of claimed jobs. Nothing is written for a claim that another worker has taken over."""

    settings: WorkerSettings
    database: Database
    registry: ModelRegistry
    clock: Clock

    def succeed(self, claim: Claim, result: RunResult) -> None:
        """Publish what a run has produced."""
        manifest = result.files[-1].sha256 if result.files else None

        def publish(session: Session) -> bool:
            published = claims.succeed(session, claim, result.files, manifest, result.verdict, now=self.clock())
            if published and result.next_revision:
                ledgers.advance(session, session.get_one(Job, claim.job_id), result.next_revision, now=self.clock())
            if published and claim.revokes:
                fleets.reopen(session, claim.revokes)
            if published and claim.kind == "removal" and not result.is_carried:
                fleets.record_solved(session, claim.job_id)
            if published and result.calibration:
                self._record_calibration(session, claim, result.calibration)
            if published and result.description:
                job = session.get_one(Job, claim.job_id)
                model_registrations.record(session, job, result.description, now=self.clock())
            return published

        published = self._write(publish)
        failpoint("publish.committed")
        self._clean_up(claim, published)

    def _record_calibration(self, session: Session, claim: Claim, new: NewCalibration) -> None:
        revision = calibrations.current_revision(session, self.registry.get(claim.request.model))
        calibrations.record(session, session.get_one(Job, claim.job_id), new, revision, now=self.clock())

    def requeue(self, claim: Claim, reason: str) -> None:
        """Requeue a job at once, because the ledger has moved or the worker was stopped. Does not count as an attempt."""
        self._write(
            lambda session: claims.release(session, claim, reason, now=self.clock(), delay=timedelta(), counted=False)
        )

    def cancel(self, claim: Claim) -> None:
        """End a job that was canceled."""
        self._clean_up(claim, self._write(lambda session: claims.cancel(session, claim, now=self.clock())))

    def fail(self, claim: Claim, error: JobError) -> None:
        """End a job that cannot succeed."""
        self._clean_up(claim, self._write(lambda session: claims.fail(session, claim, error, now=self.clock())))

    def retry(self, claim: Claim, error: Exception, phase: str | None) -> None:
        """Requeue a job after an unexpected error, which may be specific to this machine."""
        if claim.is_last_attempt:
            self.fail(claim, job_errors.crash_error(error, phase))
            return
        delay = timedelta(seconds=self.settings.retry_seconds * 2 ** (claim.attempt - 1))
        reason = f"attempt {claim.attempt} crashed ({type(error).__name__}), queued again"
        self._write(lambda session: claims.release(session, claim, reason, now=self.clock(), delay=delay))

    def _write(self, change: Callable[[Session], T]) -> T:
        return db_retry.write_with_retry(self.database, change)

    def _clean_up(self, claim: Claim, ours: bool) -> None:
        """Delete the work folder if this worker ended the job."""
        if claim.kind == "registration":
            self.registry.forget(claim.request.model)
        if ours:
            shutil.rmtree(self.settings.workdir(claim.job_id), ignore_errors=True)
