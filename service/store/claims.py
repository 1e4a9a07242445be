"""Claims: who may work on a job, proven by a number.

Each claim raises the job's `fence`. Every write of a worker names the fence that it holds and changes nothing
when that is no longer the job's: a worker that was paused for an hour and wakes up cannot harm its successor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, or_, update
from sqlalchemy.orm import Session

from api_schemas.access import DEFAULT_TENANT
from api_schemas.edits import EditRequest
from api_schemas.events import EventType, Level
from api_schemas.jobs import JobError, JobKind, Status
from api_schemas.report import Verdict
from service.store import events, outbox
from service.store.failpoints import failpoint
from service.store.orm import Artifact, Attempt, Job

ACTIVE_STATUSES: tuple[Status, ...] = ("running", "canceling")
NO_LEASE: Mapping[str, object] = {"lease_owner": None, "lease_until": None}


@dataclass(frozen=True)
class Claim:
    """The right to work on a job until somebody claims it with a higher fence."""

    job_id: str
    fence: int
    attempt: int
    max_attempts: int
    request: EditRequest
    created_at: datetime
    tenant: str = DEFAULT_TENANT
    kind: JobKind = "removal"
    revokes: str | None = None

    @property
    def uses_ledger(self) -> bool:
        """Whether the work starts from what holds already."""
        return self.request.ledger or self.kind == "revocation"

    @property
    def creates_revision(self) -> bool:
        """Whether the ledger has another revision once this is published."""
        return self.uses_ledger and self.kind != "plan"

    @property
    def is_last_attempt(self) -> bool:
        """Whether nobody may try again after this."""
        return self.attempt >= self.max_attempts


@dataclass(frozen=True)
class StoredArtifact:
    """A file that lies in the blob store, or whose overlay's delta does, ready to be named by the job."""

    name: str
    kind: str
    media_type: str
    size: int
    sha256: str
    overlay: dict[str, Any] | None = None
    """An `api_schemas.overlays.Overlay`, where the file is put together when it is read."""


def claim(session: Session, job_id: str, *, owner: str, lease: timedelta, now: datetime) -> Claim | None:
    """Win the job, or None: it is over, out of attempts, or somebody else is at work on it.

    An owner runs one job at a time. So if this very owner holds the lease, its former run has died.
    """
    free = or_(
        Job.status == "queued",
        and_(Job.status == "running", or_(Job.lease_until < now, Job.lease_owner == owner)),
    )
    taken = {
        "status": "running",
        "fence": Job.fence + 1,
        "attempt": Job.attempt + 1,
        "lease_owner": owner,
        "lease_until": now + lease,
        "started_at": func.coalesce(Job.started_at, now),
    }
    claimable = and_(Job.id == job_id, free, Job.attempt < Job.max_attempts)
    job = session.scalar(update(Job).where(claimable).values(taken).returning(Job))
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
        EditRequest.model_validate(job.request),
        job.created_at,
        job.tenant,
        job.kind,
        job.revokes,
    )


def extend_lease(session: Session, claim: Claim, *, lease: timedelta, now: datetime) -> Status | None:
    """Still at work. Returns the job's status, or None: the claim is lost, stop."""
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
) -> Status | None:
    """Where the work is: `progress` is the share of the whole job. Returns as `extend` does."""
    status = _update_if_claimed(session, claim, {"phase": phase, "progress": progress})
    if status:
        share = round(progress, 4)
        events.append(session, claim.job_id, kind, message, now=now, phase=phase, progress=share)
    return status


def succeed(
    session: Session,
    claim: Claim,
    files: Sequence[StoredArtifact],
    manifest_sha256: str,
    verdict: Verdict | None,
    *,
    now: datetime,
) -> bool:
    """Publish: name the files and end the job, in one transaction. False: the claim is lost.

    A cancel that came this late loses: the work is done.
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
    """End the job without a result. False: the claim is lost."""
    return _finish(session, claim, "failed", {"error": error.model_dump()}, now=now, level="error")


def cancel(session: Session, claim: Claim, *, now: datetime) -> bool:
    """The work has stopped as asked. False: the claim is lost."""
    return _finish(session, claim, "canceled", {}, now=now)


def release(
    session: Session, claim: Claim, reason: str, *, now: datetime, pause: timedelta, counted: bool = True
) -> bool:
    """Give a running job back, to be tried again after a pause. False: it is lost, or asked to stop.

    Args:
        counted: whether the attempt was one; not when it was nobody's fault.
    """
    queued = {"status": "queued", "queued_at": now, "attempt": claim.attempt - (not counted), **NO_LEASE}
    if not _update_if_claimed(session, claim, queued, from_states=("running",)):
        return False
    outbox.enqueue(session, claim.job_id, now=now + pause)
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
    """The one fenced write. Returns the job's status after it, None when the claim is lost."""
    held = and_(Job.id == claim.job_id, Job.fence == claim.fence, Job.status.in_(from_states))
    return session.scalar(update(Job).where(held).values(values).returning(Job.status))
