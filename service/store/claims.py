"""Claims: the exclusive right to work on a job, enforced with a fencing token.

Each claim increments the job's `fence`. Every write of a worker is conditional on the fence it was given, so a worker that
was paused for an hour and resumes cannot overwrite its successor's results.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, update
from sqlalchemy.orm import Session

from api_schemas.access import DEFAULT_TENANT
from api_schemas.calibrations import CalibrationTask
from api_schemas.edits import EditRequest
from api_schemas.events import EventType, Level
from api_schemas.fleets import FleetTask
from api_schemas.jobs import QUICK_KINDS, JobError, JobKind, Status
from api_schemas.previews import PreviewTask
from api_schemas.registrations import RegistrationTask
from api_schemas.report import Verdict
from service.store import events, outbox, samples
from service.store.failpoints import failpoint
from service.store.jobs import JobRequest
from service.store.orm import Artifact, Attempt, Job
from service.store.samples import NewSample

ACTIVE_STATUSES: tuple[Status, ...] = ("running", "canceling")
NO_LEASE: Mapping[str, object] = {"lease_owner": None, "lease_until": None}


@dataclass(frozen=True)
class Claim:
    """The right to work on a job until another claim gets a higher fence."""

    job_id: str
    fence: int
    attempt: int
    max_attempts: int
    request: JobRequest
    created_at: datetime
    tenant: str = DEFAULT_TENANT
    kind: JobKind = "removal"
    revokes: str | None = None

    @property
    def uses_ledger(self) -> bool:
        """Whether the job starts from the active removals of the ledger."""
        return self.kind == "revocation" or (isinstance(self.request, EditRequest) and self.request.ledger)

    @property
    def creates_revision(self) -> bool:
        """Whether publishing the job creates a ledger revision."""
        return self.uses_ledger and self.kind not in QUICK_KINDS

    @property
    def withholds_names(self) -> bool:
        """Whether the request's texts are personal data: names of removed concepts that are withheld, and every prompt."""
        return getattr(self.request, "withhold_names", self.kind == "preview")

    @property
    def is_last_attempt(self) -> bool:
        """Whether the job may not be tried again after this attempt."""
        return self.attempt >= self.max_attempts


@dataclass(frozen=True)
class StoredArtifact:
    """A file whose content is in the blob store (or whose overlay's delta is), not yet published by its job."""

    name: str
    kind: str
    media_type: str
    size: int
    sha256: str
    overlay: dict[str, Any] | None = None
    """The serialized `api_schemas.overlays.Overlay` of a file that is assembled when it is read."""


def claim(session: Session, job_id: str, *, owner: str, lease: timedelta, now: datetime) -> Claim | None:
    """Claim the job. Returns None if it has ended, has no attempts left, or another worker holds the lease.

    A worker runs one job at a time, so if `owner` itself holds the lease, its earlier attempt has died.
    """
    available = or_(
        Job.status == "queued",
        and_(Job.status == "running", or_(Job.lease_until < now, Job.lease_owner == owner)),
    )
    values = {
        "status": "running",
        "fence": Job.fence + 1,
        "attempt": Job.attempt + 1,
        "lease_owner": owner,
        "lease_until": now + lease,
        "started_at": func.coalesce(Job.started_at, now),
    }
    claimable = and_(Job.id == job_id, available, Job.attempt < Job.max_attempts)
    job = session.scalar(update(Job).where(claimable).values(values).returning(Job))
    if job is None:
        return None
    session.add(Attempt(job_id=job_id, fence=job.fence, owner=owner, started_at=now))
    outbox.discard(session, job_id)
    events.append(session, job_id, "status", "started", now=now, status="running", attempt=job.attempt)
    failpoint("claim.written")
    return Claim(
        job_id,
        job.fence,
        job.attempt,
        job.max_attempts,
        parse_request(job),
        job.created_at,
        job.tenant,
        job.kind,
        job.revokes,
    )


REQUEST_TYPES: Mapping[JobKind, type[JobRequest]] = {
    "calibration": CalibrationTask,
    "preview": PreviewTask,
    "registration": RegistrationTask,
    "statement": FleetTask,
}
"""The request of each kind of job that is not on an `EditRequest`."""


def parse_request(job: Job) -> JobRequest:
    """Return the request of a job, as its kind has it."""
    return REQUEST_TYPES.get(job.kind, EditRequest).model_validate(job.request)


def extend_lease(session: Session, claim: Claim, *, lease: timedelta, now: datetime) -> Status | None:
    """Extend the lease. Returns the job's status, or None if the claim is lost and the worker must stop."""
    return _update_if_claimed(session, claim, {"lease_until": now + lease})


def report_progress(
    session: Session,
    claim: Claim,
    kind: EventType,
    message: str,
    *,
    phase: str,
    progress: float,
    now: datetime,
    **data: Any,
) -> Status | None:
    """Record phase and progress (fraction of the whole job) and append an event with `data`. Returns as `extend_lease` does."""
    status = _update_if_claimed(session, claim, {"phase": phase, "progress": progress})
    if status:
        share = round(progress, 4)
        events.append(session, claim.job_id, kind, message, now=now, phase=phase, progress=share, **data)
    return status


def report_samples(
    session: Session, claim: Claim, new: Sequence[NewSample], *, phase: str, progress: float, now: datetime
) -> Status | None:
    """Store sample images, with an event whose `samples` is their number. Returns as `extend_lease` does."""
    status = report_progress(
        session, claim, "progress", "sample images", phase=phase, progress=progress, now=now, samples=len(new)
    )
    if status:
        samples.add(session, claim.job_id, new)
        failpoint("samples.written")
    return status


def succeed(
    session: Session,
    claim: Claim,
    files: Sequence[StoredArtifact],
    manifest_sha256: str | None,
    verdict: Verdict | None,
    *,
    now: datetime,
) -> bool:
    """Publish the files and end the job, in one transaction. Returns False if the claim is lost.

    Cancellation requested this late has no effect, because the work is done.
    """
    values = {"progress": 1.0, "verdict": verdict, "manifest_sha256": manifest_sha256}
    ended = _finish(session, claim, "succeeded", values, now=now)
    if ended:
        rows = enumerate(files)
        session.add_all(Artifact(job_id=claim.job_id, position=index, **vars(file)) for index, file in rows)
        session.flush()
        failpoint("publish.written")
    return ended


def fail(session: Session, claim: Claim, error: JobError, *, now: datetime) -> bool:
    """End the job with an error. Returns False if the claim is lost."""
    return _finish(session, claim, "failed", {"error": error.model_dump()}, now=now, level="error")


def cancel(session: Session, claim: Claim, *, now: datetime) -> bool:
    """End the job after its work was stopped on request. Returns False if the claim is lost."""
    return _finish(session, claim, "canceled", {}, now=now)


def release(
    session: Session, claim: Claim, reason: str, *, now: datetime, delay: timedelta, counted: bool = True
) -> bool:
    """Return a running job to the queue, due after `pause`. Returns False if the claim is lost or cancellation was requested.

    Args:
        counted: whether this attempt counts towards the maximum.
    """
    queued = {"status": "queued", "queued_at": now, "attempt": claim.attempt - (not counted), **NO_LEASE}
    if not _update_if_claimed(session, claim, queued, from_states=("running",)):
        return False
    outbox.enqueue(session, claim.job_id, now=now + delay)
    events.append(session, claim.job_id, "status", reason, now=now, level="warn", status="queued")
    return True


def _finish(
    session: Session,
    claim: Claim,
    status: Status,
    values: Mapping[str, object],
    *,
    now: datetime,
    level: Level = "info",
) -> bool:
    if not _update_if_claimed(session, claim, {"status": status, "finished_at": now, **NO_LEASE, **values}):
        return False
    events.append(session, claim.job_id, "status", status, now=now, level=level, status=status)
    return True


def _update_if_claimed(
    session: Session, claim: Claim, values: Mapping[str, object], from_states: Sequence[Status] = ACTIVE_STATUSES
) -> Status | None:
    """Update the job if the claim is valid. Returns the job's new status, or None if the claim is lost."""
    claimed = and_(Job.id == claim.job_id, Job.fence == claim.fence, Job.status.in_(from_states))
    return session.scalar(update(Job).where(claimed).values(values).returning(Job.status))
