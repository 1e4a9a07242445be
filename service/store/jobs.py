"""The life of a job as clients see it: created, listed, canceled.

queued -> running -> succeeded | failed
  |  \\       |
  |   \\      +-> canceling -> canceled
  |    +-> canceled
  +-> expired                       (running jobs: `claims`; jobs whose worker died: `lease_reaper`)
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias, get_args

from sqlalchemy import ColumnElement, and_, func, or_, select, update
from sqlalchemy.orm import Session, lazyload

from api_schemas.access import DEFAULT_TENANT
from api_schemas.calibrations import CalibrationTask
from api_schemas.edits import EditRequest
from api_schemas.fleets import FleetTask
from api_schemas.jobs import EDIT_KINDS, QUICK_KINDS, TERMINAL_STATUSES, JobKind, Status
from api_schemas.previews import PreviewTask
from api_schemas.registrations import RegistrationTask
from service.store import events, outbox
from service.store.failpoints import failpoint
from service.store.ids import JOB_PREFIXES, prefixed_id
from service.store.orm import Job, add_rows

JobRequest: TypeAlias = EditRequest | CalibrationTask | PreviewTask | RegistrationTask | FleetTask
MAX_ATTEMPTS = 3
MAX_QUEUE_TIME = timedelta(days=7)
"""A job that no worker has started within this time expires."""
MAX_COUNTED = 1000
_IS_EDIT = Job.kind.in_(EDIT_KINDS)
_IS_UNFINISHED = Job.status.not_in(TERMINAL_STATUSES)


@dataclass(frozen=True)
class NewJob:
    """A job to create."""

    request: JobRequest
    api_key_id: str
    tenant: str = DEFAULT_TENANT
    kind: JobKind = "removal"
    revokes: str | None = None
    max_queue_time: timedelta = MAX_QUEUE_TIME

    def row(self, now: datetime) -> dict[str, Any]:
        """Return the column values of the queued job."""
        return {
            "id": prefixed_id(JOB_PREFIXES[self.kind], now),
            "tenant": self.tenant,
            "kind": self.kind,
            "revokes": self.revokes,
            "status": "queued",
            "model": self.request.model,
            "request": self.request.model_dump(mode="json"),
            "request_digest": self.request.digest(),
            "api_key_id": self.api_key_id,
            "max_attempts": MAX_ATTEMPTS,
            "attempt": 0,
            "progress": 0.0,
            "created_at": now,
            "queued_at": now,
            "expires_at": now + self.max_queue_time,
        }


def create(session: Session, new: NewJob, *, now: datetime) -> Job:
    """Create a queued job with its first event and its outbox message."""
    return create_all(session, [new], now=now)[0]


def create_all(session: Session, new: Sequence[NewJob], *, now: datetime) -> list[Job]:
    """Create jobs, in order, with the same number of statements for any number of them."""
    rows = [job.row(now) for job in new]
    add_rows(session, Job, rows)
    jobs = [Job(**row, artifacts=[]) for row in rows]
    events.append_first(session, jobs, now=now)
    outbox.enqueue_all(session, [job.id for job in jobs], now=now)
    failpoint("accept.written")
    return jobs


def get(session: Session, job_id: str) -> Job | None:
    """Return the current state of any tenant's job, or None."""
    return session.get(Job, job_id, populate_existing=True)


def list_all(
    session: Session, filters: Mapping[str, Collection[str] | None], *, limit: int, after: str | None
) -> Sequence[Job]:
    """Return jobs of all tenants and kinds, newest first, from the one after id `after`.

    Args:
        filters: values of columns to filter by; None matches any value.
    """
    query = select(Job).options(lazyload(Job.artifacts))
    for name, values in filters.items():
        query = query if values is None else query.where(getattr(Job, name).in_(values))
    if after is not None:
        last = select(Job.created_at).where(Job.id == after).scalar_subquery()
        query = query.where(or_(Job.created_at < last, and_(Job.created_at == last, Job.id < after)))
    return session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)).all()


def get_edit(session: Session, tenant: str, job_id: str) -> Job | None:
    """Return the tenant's edit, or None. Dry runs, calibrations and previews are not edits."""
    job = get(session, job_id)
    return job if job and job.tenant == tenant and job.kind in EDIT_KINDS else None


def get_calibration(session: Session, tenant: str, job_id: str) -> Job | None:
    """Return the tenant's calibration, or None."""
    job = get(session, job_id)
    return job if job and job.tenant == tenant and job.kind == "calibration" else None


def get_preview(session: Session, tenant: str, edit_id: str, job_id: str) -> Job | None:
    """Return a preview of the tenant's edit, or None."""
    job = get(session, job_id)
    return job if job and job.tenant == tenant and job.kind == "preview" and job.request["edit"] == edit_id else None


def get_steering_preview(session: Session, tenant: str, model: str, kind: str, job_id: str) -> Job | None:
    """Return the tenant's preview of steered features of an autoencoder, or None."""
    job = get(session, job_id)
    if job is None or (job.tenant, job.kind, job.model) != (tenant, "preview", model):
        return None
    steering = job.request.get("steering")
    return job if steering and steering["kind"] == kind else None


def get_edits(session: Session, job_ids: Collection[str]) -> Sequence[Job]:
    """Return the edits with these ids, of any tenant, with their files. Other jobs are left out."""
    return session.scalars(select(Job).where(Job.id.in_(job_ids), _IS_EDIT)).all()


def list_edits(
    session: Session,
    tenant: str | None,
    filters: Mapping[str, str | None],
    *,
    limit: int,
    after: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Sequence[Job]:
    """Return a tenant's edits, newest first, from the one after id `after`.

    Args:
        tenant: None returns the edits of all tenants.
        filters: column values to filter by; None matches any value.
        since: only edits created at this time or later.
        until: only edits created before this time.
    """
    query = select(Job).where(_IS_EDIT)
    query = query if tenant is None else query.where(Job.tenant == tenant)
    for name, value in filters.items():
        query = query if value is None else query.where(getattr(Job, name) == value)
    if after is not None:
        query = query.where(Job.id < after)
    if since is not None:
        query = query.where(Job.created_at >= since)
    if until is not None:
        query = query.where(Job.created_at < until)
    return session.scalars(query.order_by(Job.id.desc()).limit(limit)).all()


def count_by_status(session: Session, tenant: str) -> dict[Status, int]:
    """Count a tenant's edits by status, each up to `MAX_COUNTED`, so that the time does not grow with their number."""

    def count(status: Status) -> int:
        some = select(Job.id).where(Job.tenant == tenant, Job.status == status, _IS_EDIT).limit(MAX_COUNTED).subquery()
        return session.scalar(select(func.count()).select_from(some)) or 0

    return {status: count(status) for status in get_args(Status)}


def list_calibrations(
    session: Session, tenant: str, *, model: str | None, limit: int, after: str | None
) -> Sequence[Job]:
    """Return a tenant's calibrations, newest first, from the one after id `after`."""
    query = select(Job).where(Job.kind == "calibration", Job.tenant == tenant)
    query = query if model is None else query.where(Job.model == model)
    query = query if after is None else query.where(Job.id < after)
    return session.scalars(query.order_by(Job.id.desc()).limit(limit)).all()


def list_previews(session: Session, tenant: str, edit_id: str, *, limit: int, after: str | None) -> Sequence[Job]:
    """Return the previews of a tenant's edit, newest first, from the one after id `after`."""
    return _list_previews(session, tenant, Job.request["edit"].as_string() == edit_id, limit=limit, after=after)


def list_steering_previews(
    session: Session, tenant: str, model: str, kind: str, *, limit: int, after: str | None
) -> Sequence[Job]:
    """Return the tenant's previews of steered features of an autoencoder, newest first, from the one after id `after`."""
    steered = and_(Job.model == model, Job.request[("steering", "kind")].as_string() == kind)
    return _list_previews(session, tenant, steered, limit=limit, after=after)


def _list_previews(
    session: Session, tenant: str, subject: ColumnElement[bool], *, limit: int, after: str | None
) -> Sequence[Job]:
    query = select(Job).where(Job.kind == "preview", Job.tenant == tenant, subject)
    query = query if after is None else query.where(Job.id < after)
    return session.scalars(query.order_by(Job.id.desc()).limit(limit)).all()


def revocation_of(session: Session, job_id: str) -> Job | None:
    """Return the pending or successful job that revokes an edit, or None."""
    pending = select(Job).where(Job.revokes == job_id, Job.status.in_(("queued", "running", "canceling", "succeeded")))
    return session.scalar(pending.order_by(Job.id.desc()).limit(1))


def count_unfinished(session: Session, tenant: str) -> int:
    """Count the tenant's edits and calibrations that are queued or running."""
    return _count(session, Job.tenant == tenant, Job.kind.not_in(QUICK_KINDS), _IS_UNFINISHED)


def count_unfinished_previews(session: Session, tenant: str) -> int:
    """Count the tenant's previews that are queued or running."""
    return _count(session, Job.tenant == tenant, Job.kind == "preview", _IS_UNFINISHED)


def _count(session: Session, *conditions: ColumnElement[bool]) -> int:
    return session.scalar(select(func.count()).select_from(Job).where(*conditions)) or 0


def count_unfinished_dry_runs(session: Session) -> dict[str, int]:
    """Count the dry runs that are queued or running, by tenant."""
    query = select(Job.tenant, func.count()).where(Job.kind == "plan", _IS_UNFINISHED).group_by(Job.tenant)
    return dict(session.execute(query).all())


def recent_dry_run_seconds(session: Session) -> list[float]:
    """Return the run times of the latest dry runs in seconds."""
    ended = select(Job.started_at, Job.finished_at).where(Job.kind == "plan", Job.status == "succeeded")
    rows = session.execute(ended.order_by(Job.id.desc()).limit(10))
    return [(finished - started).total_seconds() for started, finished in rows if started and finished]


def cancel(session: Session, job_id: str, *, now: datetime) -> bool:
    """Cancel a queued job at once, or request cancellation of a running one. Returns False if the job has ended."""
    queued = update(Job).where(Job.id == job_id, Job.status == "queued").returning(Job.id)
    if session.scalar(queued.values(status="canceled", canceling_at=now, finished_at=now)):
        outbox.discard(session, job_id)
        events.append(session, job_id, "status", "canceled before it started", now=now, status="canceled")
        return True
    running = update(Job).where(Job.id == job_id, Job.status == "running").returning(Job.id)
    if session.scalar(running.values(status="canceling", canceling_at=now)):
        events.append(session, job_id, "status", "cancellation requested", now=now, status="canceling")
        return True
    return False
