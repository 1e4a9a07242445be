"""Recovers jobs with expired leases, expires old queued jobs and deletes old idempotency keys.

Safe to run in any number of processes.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, delete, or_, update
from sqlalchemy.orm import Session

from api_schemas.jobs import JobError, Status
from service.store import events, outbox
from service.store.claims import NO_LEASE
from service.store.orm import IdempotencyKey, Job

MAX_LEASE = timedelta(hours=1)
"""A lease that ends later than this was granted before the clock was set back."""
IDEMPOTENCY_RETENTION = timedelta(hours=24)

ATTEMPTS_EXHAUSTED = JobError(
    code="attempts_exhausted", message="every worker that tried this job died", retryable=True
)


def reap(session: Session, *, now: datetime) -> None:
    """Return jobs whose worker died to the queue, or end them."""
    lease_ended = or_(Job.lease_until < now, Job.lease_until > now + MAX_LEASE)
    running, canceling = and_(Job.status == "running", lease_ended), and_(Job.status == "canceling", lease_ended)
    exhausted = and_(running, Job.attempt >= Job.max_attempts)
    overdue = and_(Job.status == "queued", Job.expires_at < now)
    ended = {"finished_at": now, **NO_LEASE}

    _transition(session, canceling, "canceled", "the worker died", ended, now)
    failed = {"error": ATTEMPTS_EXHAUSTED.model_dump(), **ended}
    _transition(session, exhausted, "failed", ATTEMPTS_EXHAUSTED.message, failed, now)
    for job_id in _transition(session, overdue, "expired", "no worker started it in time", ended, now):
        outbox.discard(session, job_id)
    for job_id in _transition(
        session, running, "queued", "the worker died, queued again", {"queued_at": now, **NO_LEASE}, now
    ):
        outbox.enqueue(session, job_id, now=now)
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - IDEMPOTENCY_RETENTION))


def expire_leases_of(session: Session, owner: str, *, now: datetime) -> None:
    """Expire the leases of a worker that is known to have died, instead of waiting for them to end."""
    session.execute(update(Job).where(Job.lease_owner == owner).values(lease_until=now - timedelta(seconds=1)))
    reap(session, now=now)


def _transition(
    session: Session,
    condition: ColumnElement[bool],
    status: Status,
    message: str,
    values: Mapping[str, object],
    now: datetime,
) -> Sequence[str]:
    """Change the status of the matching jobs and append an event to each. Returns their ids."""
    job_ids = session.scalars(update(Job).where(condition).values(status=status, **values).returning(Job.id)).all()
    for job_id in job_ids:
        events.append(session, job_id, "status", message, now=now, level="warn", status=status)
    return job_ids
