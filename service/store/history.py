"""A job's events: durable, numbered without gaps."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api_schemas.events import EventType, Level
from service.store.schema import Event


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


def after(session: Session, job_id: str, seq: int, limit: int) -> Sequence[Event]:
    """Up to `limit` events that follow number `seq`, oldest first."""
    following = select(Event).where(Event.job_id == job_id, Event.seq > seq)
    return session.scalars(following.order_by(Event.seq).limit(limit)).all()
