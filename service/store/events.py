"""Events of a job: durable and numbered without gaps."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session, lazyload

from api_schemas.events import EventType, Level
from api_schemas.jobs import EDIT_KINDS, QUICK_KINDS, TERMINAL_STATUSES, Status
from service.store import audit, samples, webhooks
from service.store.audit import AuditEntry
from service.store.orm import Event, Job, add_row, add_rows

_LAST = select(func.max(Event.seq)).where(Event.job_id == bindparam("job_id"))


def append_first(session: Session, jobs: Sequence[Job], *, now: datetime) -> None:
    """Append the first event of new jobs."""
    queued = {"level": "info", "type": "status", "message": "queued", "data": {"status": "queued"}}
    add_rows(session, Event, [{"job_id": job.id, "seq": 1, "created_at": now, **queued} for job in jobs])
    _notify_subscribers(session, jobs, "queued", now)


def append(
    session: Session,
    job_id: str,
    kind: EventType,
    message: str,
    *,
    now: datetime,
    level: Level = "info",
    **data: Any,
) -> None:
    """Append an event. The transaction must already hold the lock of the job's row.

    An event that ends the job deletes its samples.
    """
    last = session.scalar(_LAST, {"job_id": job_id}) or 0
    values = {"level": level, "type": kind, "message": message, "data": data}
    add_row(session, Event, job_id=job_id, seq=last + 1, created_at=now, **values)
    if kind == "status":
        job = session.get_one(Job, job_id, populate_existing=True, options=[lazyload(Job.artifacts)])
        _notify_subscribers(session, [job], data["status"], now)
        if data["status"] in TERMINAL_STATUSES:
            samples.delete_all(session, job_id)


def _notify_subscribers(session: Session, jobs: Sequence[Job], status: Status, now: datetime) -> None:
    """Queue webhook deliveries and, if the jobs have ended, write the audit log."""
    webhooks.enqueue_deliveries(session, [job for job in jobs if job.kind in EDIT_KINDS], status, now=now)
    for job in jobs:
        if job.kind == "registration" and status in ("failed", "expired"):
            webhooks.enqueue_model_deliveries(session, job.tenant, job.model, "refused", now=now)
    if status in TERMINAL_STATUSES:
        audit.record_all(session, [_audit_entry(job, status) for job in jobs if job.kind not in QUICK_KINDS], now=now)


def _audit_entry(job: Job, status: Status) -> AuditEntry:
    resource = job.kind if job.kind in ("calibration", "registration", "statement") else "edit"
    noted = {"verdict": job.verdict, "manifest": job.manifest_sha256}
    return AuditEntry(job.tenant, "service", f"{resource}.{status}", job.id, noted)


@dataclass(frozen=True)
class EventHead:
    """Status of a job and number of its last event."""

    status: Status
    last_seq: int
    """The number of the job's last event."""


def event_heads(session: Session, job_ids: Collection[str]) -> dict[tuple[str, str], EventHead]:
    """Return the status and last event number of each job, by (tenant, id). Dry runs and previews are left out."""
    last = select(func.max(Event.seq)).where(Event.job_id == Job.id).scalar_subquery()
    streamed = (Job.id.in_(job_ids), Job.kind.not_in(QUICK_KINDS))
    rows = session.execute(select(Job.tenant, Job.id, Job.status, last).where(*streamed))
    return {(tenant, job_id): EventHead(status, last or 0) for tenant, job_id, status, last in rows}


def after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[Event]:
    """Return up to `limit` events with a number above `seq`, oldest first."""
    following = select(Event).where(Event.job_id == job_id, Event.seq > seq)
    return session.scalars(following.order_by(Event.seq).limit(limit)).all()
