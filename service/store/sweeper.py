"""What nobody finished: dead leases, expired jobs, stale keys. Safe to run anywhere, any number of times."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, update
from sqlalchemy.orm import Session

from api_schemas.jobs import JobError, Status
from service.store import history, outbox
from service.store.schema import Doorbell, IdempotencyKey, Job

IDEMPOTENCY_TIME = timedelta(hours=24)

ATTEMPTS_EXHAUSTED = JobError(
    code="attempts_exhausted",
    message="every worker that tried this job died on it",
    retryable=True,
)


def sweep(session: Session, *, now: datetime) -> None:
    """Bring every job whose worker is gone back into the queue, or to its end."""
    dead = Job.lease_until < now
    exhausted = Job.attempt >= Job.max_attempts
    end = {"finished_at": now, "lease_owner": None, "lease_until": None}
    _move(session, (Job.status == "canceling", dead), "canceled", "the worker is gone", now, **end)
    _move(
        session,
        (Job.status == "running", dead, exhausted),
        "failed",
        ATTEMPTS_EXHAUSTED.message,
        now,
        error=ATTEMPTS_EXHAUSTED.model_dump(),
        **end,
    )
    requeue(session, dead, now=now)
    expired = _move(session, (Job.status == "queued", Job.expires_at < now), "expired", "never started", now, **end)
    session.execute(delete(Doorbell).where(Doorbell.job_id.in_(expired)))
    session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < now - IDEMPOTENCY_TIME))


def requeue(session: Session, *which: ColumnElement[bool], now: datetime) -> None:
    """Put running jobs, whose worker is known to be dead, back into the queue."""
    for job_id in _move(
        session,
        (Job.status == "running", Job.attempt < Job.max_attempts, *which),
        "queued",
        "the worker is gone, queued again",
        now,
        queued_at=now,
        lease_owner=None,
        lease_until=None,
    ):
        outbox.ring(session, job_id, now=now)


def owner_died(session: Session, owner: str, *, now: datetime) -> None:
    """Somebody saw this worker die: no need to wait for its lease to end."""
    session.execute(update(Job).where(Job.lease_owner == owner).values(lease_until=now - timedelta(seconds=1)))
    sweep(session, now=now)


def _move(
    session: Session,
    which: Sequence[ColumnElement[bool]],
    status: Status,
    message: str,
    now: datetime,
    **values: object,
) -> Sequence[str]:
    """Change the status of the matching jobs and tell each one's history. Returns their ids."""
    moved = session.scalars(update(Job).where(*which).values(status=status, **values).returning(Job.id)).all()
    for job_id in moved:
        history.append(session, job_id, "status", message, now=now, level="warn", status=status)
    return moved
