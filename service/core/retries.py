"""Retry jobs that have ended without a result: a new job on the same request, for the tenant of the first one.

It takes the place of the first one in the case, the fleet or the registration that waits for it, in the same transaction.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from api_schemas.jobs import EDIT_KINDS
from api_schemas.operations import RETRYABLE_KINDS, RETRYABLE_STATUSES, JobSummary
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import retried_jobs
from service.core.edits import Acceptance, PendingEdit, PendingJob, PendingRevocation
from service.core.quotas import JobQuota
from service.errors import NotRetryable
from service.store import claims, fleets
from service.store.audit import AuditEntry
from service.store.failpoints import failpoint
from service.store.jobs import NewJob
from service.store.orm import Fleet, Job, ModelRegistration


def summary(job: Job) -> JobSummary:
    """Return a job as operators see it."""
    return JobSummary(
        id=job.id,
        tenant=job.tenant,
        kind=job.kind,
        model=job.model,
        status=job.status,
        phase=job.phase,
        attempt=job.attempt,
        max_attempts=job.max_attempts,
        created_at=job.created_at,
        finished_at=job.finished_at,
        error_code=(job.error or {}).get("code"),
        retryable=is_retryable(job),
    )


def is_retryable(job: Job) -> bool:
    """Return whether the status and the kind of a job allow another one in its place."""
    return job.status in RETRYABLE_STATUSES and job.kind in RETRYABLE_KINDS


@dataclass(frozen=True, eq=False)
class PendingRetry(PendingJob):
    """A POST that retries a job."""

    job: Job
    app_state: AppState

    @property
    def fingerprint(self) -> str:
        """The id of the job: the request has no body."""
        return f"retry:{self.job.id}"

    def admit(self, session: Session, quota: JobQuota) -> NewJob | Job:
        """Return the new job.

        Raises:
            NotRetryable, WrongCaseState, RestoredTooEarly, LedgerConflict, InvalidRequest, NotRevocable, TooManyJobs: It
                cannot be retried, or not at present.
        """
        if not is_retryable(self.job):
            raise _refusal(self.job, f"is a {self.job.kind} that is {self.job.status}")
        caller = self._owner
        of_case = self.job.kind in EDIT_KINDS and retried_jobs.check(self.app_state, session, caller, self.job)
        if self.job.kind == "removal":
            return PendingEdit(caller, None, EditRequest.model_validate(self.job.request)).admit(session, quota)
        if self.job.kind == "revocation":
            edit = session.get_one(Job, self.job.revokes)
            return PendingRevocation(caller, None, edit, of_case).admit(session, quota)
        self._check_still_awaited(session)
        quota.reserve(caller.tenant)
        return NewJob(claims.parse_request(self.job), caller.key_id, caller.tenant, self.job.kind)

    @property
    def _owner(self) -> Caller:
        """The operator, in the tenant of the job."""
        return Caller(self.caller.key_id, self.job.tenant, frozenset())

    def _check_still_awaited(self, session: Session) -> None:
        """Raise `NotRetryable` if another job has taken the place of a registration or of a fleet's statement."""
        if self.job.kind == "registration":
            row = session.get(ModelRegistration, self.job.model)
            awaited = row is not None and row.job_id == self.job.id
        else:
            awaited = self.job.kind != "statement" or self._fleet(session).statement_job_id == self.job.id
        if not awaited:
            raise _refusal(self.job, "was replaced by another job")

    def complete(self, session: Session, job: Job, now: datetime) -> Acceptance:
        """Put the new job in the place of the first one, and reply with it."""
        if job.kind == "registration":
            session.get_one(ModelRegistration, job.model).job_id = job.id
        elif job.kind == "statement":
            fleet = self._fleet(session)
            fleet.statement_job_id, fleet.finished_at = job.id, None
        elif job.kind in EDIT_KINDS:
            fleets.replace_edit(session, self.job.id, job, now=now)
            retried_jobs.replace(self.app_state, session, self._owner, self.job, job)
        failpoint("retry.written")
        entry = AuditEntry(job.tenant, self.caller.key_id, "job.retry", self.job.id, {"job": job.id})
        return Acceptance(summary(job).model_dump_json(), [entry])

    def _fleet(self, session: Session) -> Fleet:
        return session.get_one(Fleet, self.job.request["fleet"])


def _refusal(job: Job, reason: str) -> NotRetryable:
    return NotRetryable(f"{job.id} {reason}.", remedy="GET /v1/jobs lists the jobs that can be retried.")
