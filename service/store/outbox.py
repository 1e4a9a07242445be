"""The transactional outbox. A doorbell row says: a worker has still to be told about this job.

It is written in the transaction that makes the job claimable, and removed in the one that claims it. In
between it rings, more and more rarely: a lost message, or a lost broker, costs time and nothing else.
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
    """New jobs' bells, to be rung from `now` on."""
    add_rows(session, OutboxMessage, [{"job_id": job_id, "due_at": now, "rings": 0} for job_id in job_ids])


def enqueue(session: Session, job_id: str, *, now: datetime) -> None:
    """Have the job's bell rung from `now` on."""
    session.merge(OutboxMessage(job_id=job_id, due_at=now, rings=0))


def discard(session: Session, job_id: str) -> None:
    """Somebody came, or nobody needs to."""
    session.execute(delete(OutboxMessage).where(OutboxMessage.job_id == job_id))


def due(session: Session, *, now: datetime, limit: int = 100) -> Sequence[OutboxMessage]:
    """The bells to ring now, oldest first.

    One that is due later than any pause can end was hung up before the clock was set back.
    """
    ripe = or_(OutboxMessage.due_at <= now, OutboxMessage.due_at > now + MAX_RESEND_DELAY)
    return session.scalars(select(OutboxMessage).where(ripe).order_by(OutboxMessage.due_at).limit(limit)).all()


def priorities(session: Session, bells: Sequence[OutboxMessage]) -> dict[str, Priority]:
    """What each bell's job was asked to be, by its id."""
    wanted = select(Job.id, Job.request["priority"].as_string()).where(Job.id.in_([bell.job_id for bell in bells]))
    return {job_id: priority or "normal" for job_id, priority in session.execute(wanted)}


def mark_sent(session: Session, bell: OutboxMessage, *, now: datetime) -> None:
    """The message is with the broker. Ring again if nobody answers: after 30 s, 1 min, 2 min … 1 h.

    Nothing happens when somebody has answered meanwhile, or the bell was hung up anew.
    """
    pause = min(FIRST_RESEND_DELAY * 2 ** min(bell.rings, 10), MAX_RESEND_DELAY)
    same = (OutboxMessage.job_id == bell.job_id, OutboxMessage.due_at == bell.due_at)
    session.execute(update(OutboxMessage).where(*same).values(due_at=now + pause, rings=bell.rings + 1))
