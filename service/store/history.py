"""A job's events: durable, numbered without gaps."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api_schemas.events import EventType, Level
from api_schemas.jobs import TERMINAL, Status
from service.store import audit, webhooks
from service.store.schema import Event, Job


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
    last = session.scalar(select(func.max(Event.seq)).where(Event.job_id == job_id)) or 0
    session.add(
        Event(
            job_id=job_id,
            seq=last + 1,
            created_at=now,
            level=level,
            type=kind,
            message=message,
            data=data,
        )
    )
    session.flush()
    if kind == "status":
        _tell(session, job_id, data["status"], now)


def _tell(session: Session, job_id: str, status: Status, now: datetime) -> None:
    """Whoever wants to know: receivers of webhooks, and at the end the audit log."""
    job = session.get_one(Job, job_id, populate_existing=True)
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
