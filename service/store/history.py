"""A job's events: durable, numbered without gaps."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session, lazyload

from api_schemas.events import EventType, Level
from api_schemas.jobs import TERMINAL, Status
from service.store import audit, webhooks
from service.store.schema import Event, Job, add_row

_LAST = select(func.max(Event.seq)).where(Event.job_id == bindparam("job_id"))


def begin(session: Session, job: Job) -> None:
    """A new job's first event."""
    _add(session, job.id, 1, "status", "queued", now=job.created_at, data={"status": "queued"})
    _tell(session, job, "queued", job.created_at)


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
    """Add an event. The caller has changed the job's row in this transaction, which holds its lock."""
    last = session.scalar(_LAST, {"job_id": job_id}) or 0
    _add(session, job_id, last + 1, kind, message, now=now, level=level, data=data)
    if kind == "status":
        job = session.get_one(Job, job_id, populate_existing=True, options=[lazyload(Job.artifacts)])
        _tell(session, job, data["status"], now)


def _add(
    session: Session,
    job_id: str,
    seq: int,
    kind: EventType,
    message: str,
    *,
    now: datetime,
    level: Level = "info",
    data: dict[str, Any],
) -> None:
    values = {"level": level, "type": kind, "message": message, "data": data}
    add_row(session, Event, job_id=job_id, seq=seq, created_at=now, **values)


def _tell(session: Session, job: Job, status: Status, now: datetime) -> None:
    """Whoever wants to know: receivers of webhooks, and at the end the audit log."""
    if job.kind == "plan":
        return
    webhooks.announce(session, job, status, now=now)
    if status in TERMINAL:
        noted = {"verdict": job.verdict, "manifest": job.manifest_sha256}
        audit.record(session, job.tenant, "service", f"edit.{status}", job.id, now=now, **noted)


def after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[Event]:
    """Up to `limit` events that follow number `seq`, oldest first."""
    following = select(Event).where(Event.job_id == job_id, Event.seq > seq)
    return session.scalars(following.order_by(Event.seq).limit(limit)).all()
