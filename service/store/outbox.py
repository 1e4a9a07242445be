"""The transactional outbox: one row per job that workers still have to be notified of.

The row is written in the transaction that makes the job claimable and deleted in the one that claims it. In between, the
message is sent again with increasing delays, so a lost message or an unavailable broker delays a job but cannot lose it.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from api_schemas.edits import Priority
from service.store.orm import Job, OutboxMessage, add_rows

FIRST_RESEND_DELAY = timedelta(seconds=30)
MAX_RESEND_DELAY = timedelta(hours=1)


def enqueue_all(session: Session, job_ids: Sequence[str], *, now: datetime) -> None:
    """Add a message for each new job, due at `now`."""
    add_rows(session, OutboxMessage, [{"job_id": job_id, "due_at": now, "send_count": 0} for job_id in job_ids])


def enqueue(session: Session, job_id: str, *, now: datetime) -> None:
    """Add the job's message, or make it due at `now`."""
    session.merge(OutboxMessage(job_id=job_id, due_at=now, send_count=0))


def discard(session: Session, job_id: str) -> None:
    """Delete the message: the job was claimed, canceled or has expired."""
    session.execute(delete(OutboxMessage).where(OutboxMessage.job_id == job_id))


def due(session: Session, *, now: datetime, limit: int = 100) -> Sequence[OutboxMessage]:
    """Return the messages that are due, oldest first.

    A message that is due later than the longest delay was scheduled before the clock was set back, so it counts as due.
    """
    is_due = or_(OutboxMessage.due_at <= now, OutboxMessage.due_at > now + MAX_RESEND_DELAY)
    return session.scalars(select(OutboxMessage).where(is_due).order_by(OutboxMessage.due_at).limit(limit)).all()


def priorities(session: Session, messages: Sequence[OutboxMessage]) -> dict[str, Priority]:
    """Return the priority of each message's job, by job id."""
    query = select(Job.id, Job.request["priority"].as_string()).where(
        Job.id.in_([message.job_id for message in messages])
    )
    return {job_id: priority or "normal" for job_id, priority in session.execute(query)}


def mark_sent(session: Session, message: OutboxMessage, *, now: datetime) -> None:
    """Record that the message was sent, and schedule the next attempt: after 30 s, 1 min, 2 min … 1 h.

    Has no effect if the job was claimed or the message was rescheduled in the meantime.
    """
    delay = min(FIRST_RESEND_DELAY * 2 ** min(message.send_count, 10), MAX_RESEND_DELAY)
    unchanged = (OutboxMessage.job_id == message.job_id, OutboxMessage.due_at == message.due_at)
    session.execute(
        update(OutboxMessage).where(*unchanged).values(due_at=now + delay, send_count=message.send_count + 1)
    )
