"""Workers report in the database, so that any API process knows all of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from api_schemas.operations import WorkerState
from service.store.claims import ACTIVE_STATUSES
from service.store.orm import Job, WorkerPresence

REPORT_INTERVAL = timedelta(seconds=15)
LOST_AFTER = timedelta(minutes=1)
"""A worker that has not reported for this long is lost."""
LISTED_FOR = timedelta(days=1)
"""How long workers that have stopped or are lost are listed."""


def report(
    session: Session, name: str, *, queues: Sequence[str], version: str, started_at: datetime, now: datetime
) -> None:
    """Record that a worker runs, and forget workers that ended long ago."""
    session.execute(delete(WorkerPresence).where(WorkerPresence.seen_at < now - LISTED_FOR))
    columns = {"queues": list(queues), "version": version, "started_at": started_at, "seen_at": now}
    session.merge(WorkerPresence(name=name, stopped_at=None, **columns))


def record_stop(session: Session, name: str, *, now: datetime) -> None:
    """Record that a worker has ended in order."""
    if row := session.get(WorkerPresence, name):
        row.stopped_at = row.seen_at = now


def list_workers(session: Session) -> Sequence[WorkerPresence]:
    """Return the workers that have reported within a day, by name."""
    return session.scalars(select(WorkerPresence).order_by(WorkerPresence.name)).all()


def current_jobs(session: Session) -> Mapping[str, str]:
    """Return the job that each worker runs, by the worker's name."""
    running = select(Job.lease_owner, Job.id).where(Job.status.in_(ACTIVE_STATUSES), Job.lease_owner.is_not(None))
    return {owner: job_id for owner, job_id in session.execute(running) if owner}


def state_of(row: WorkerPresence, job_id: str | None, now: datetime) -> WorkerState:
    """Return the state of a worker, given the job that it runs."""
    if row.stopped_at:
        return "stopped"
    if now - row.seen_at > LOST_AFTER:
        return "lost"
    return "busy" if job_id else "idle"
