"""The queues of jobs: how much waits in each, and whether workers may claim from it.

A pause concerns claims, not messages: a worker that gets the message of a job in a paused queue leaves the job alone. Resuming
makes the messages due again.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from api_schemas.jobs import QUICK_KINDS
from api_schemas.operations import QUEUE_NAMES, QueueName
from service.store.celery_config import PLAN_QUEUE
from service.store.claims import ACTIVE_STATUSES
from service.store.orm import Job, OutboxMessage, PausedQueue


@dataclass(frozen=True)
class QueueState:
    """What waits and runs in a queue, and its pause."""

    name: QueueName
    queued: int
    running: int
    oldest_queued_at: datetime | None
    pause: PausedQueue | None


def is_in(name: str, job: type[Job] = Job) -> ColumnElement[bool]:
    """Return the condition that a job belongs to the queue."""
    return job.kind.in_(QUICK_KINDS) if name == PLAN_QUEUE else job.kind.not_in(QUICK_KINDS)


def is_paused(session: Session, name: str) -> bool:
    """Return whether workers may not claim jobs of the queue."""
    return session.get(PausedQueue, name) is not None


def read_states(session: Session) -> list[QueueState]:
    """Return the state of each queue."""
    return [_read_state(session, name) for name in QUEUE_NAMES]


def _read_state(session: Session, name: QueueName) -> QueueState:
    queued, oldest = session.execute(
        select(func.count(), func.min(Job.queued_at)).where(is_in(name), Job.status == "queued")
    ).one()
    running = session.scalar(select(func.count()).where(is_in(name), Job.status.in_(ACTIVE_STATUSES))) or 0
    return QueueState(name, queued, running, oldest, session.get(PausedQueue, name))


def pause(session: Session, name: QueueName, actor: str, *, now: datetime) -> bool:
    """Pause the queue. Returns False if it is paused already."""
    if is_paused(session, name):
        return False
    session.add(PausedQueue(name=name, actor=actor, paused_at=now))
    session.flush()
    return True


def resume(session: Session, name: QueueName, *, now: datetime) -> bool:
    """Resume the queue, and send the messages again that came during the pause. Returns False if it is not paused."""
    paused = session.get(PausedQueue, name)
    if paused is None:
        return False
    session.delete(paused)
    waiting = select(Job.id).where(is_in(name), Job.status == "queued")
    sent = update(OutboxMessage).where(OutboxMessage.send_count > 0, OutboxMessage.job_id.in_(waiting))
    session.execute(sent.values(due_at=now, send_count=0))
    return True
