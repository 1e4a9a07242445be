"""The life of a job, as seen from outside: created, listed, canceled.

queued -> running -> succeeded | failed
  |  \\       |
  |   \\      +-> canceling -> canceled
  |    +-> canceled
  +-> expired                       (see `claims` for running, `sweeper` for what nobody finished)
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from api_schemas.edits import EditRequest
from api_schemas.jobs import Status
from service.store import history, outbox
from service.store.faults import reach
from service.store.ids import edit_id
from service.store.schema import Job

MAX_ATTEMPTS = 3
QUEUE_TIME = timedelta(days=7)
"""A job that no worker has started by then expires."""


def create(session: Session, request: EditRequest, api_key_id: str, *, now: datetime) -> Job:
    """A queued job, its first event and its doorbell."""
    job = Job(
        id=edit_id(now),
        status="queued",
        model=request.model,
        request=request.model_dump(mode="json"),
        request_digest=request.digest(),
        api_key_id=api_key_id,
        max_attempts=MAX_ATTEMPTS,
        attempt=0,
        progress=0.0,
        created_at=now,
        queued_at=now,
        expires_at=now + QUEUE_TIME,
        artifacts=[],
    )
    session.add(job)
    session.flush()
    history.append(session, job.id, "status", "queued", now=now, status="queued")
    outbox.ring(session, job.id, now=now)
    reach("accept.written")
    return job


def get(session: Session, job_id: str) -> Job | None:
    """The job as it is now."""
    return session.get(Job, job_id, populate_existing=True)


def recent(
    session: Session,
    *,
    limit: int,
    after: str | None = None,
    status: Status | None = None,
    model: str | None = None,
) -> Sequence[Job]:
    """Jobs newest first, from the one that follows id `after`."""
    query = select(Job).order_by(Job.id.desc()).limit(limit)
    if after is not None:
        query = query.where(Job.id < after)
    if status is not None:
        query = query.where(Job.status == status)
    if model is not None:
        query = query.where(Job.model == model)
    return session.scalars(query).all()


def cancel(session: Session, job_id: str, *, now: datetime) -> None:
    """A queued job is canceled at once; a running one is told to stop. A terminal one stays as it is."""
    stopped = update(Job).where(Job.id == job_id, Job.status == "queued").returning(Job.id)
    if session.scalar(stopped.values(status="canceled", canceling_at=now, finished_at=now)):
        outbox.silence(session, job_id)
        history.append(session, job_id, "status", "canceled before it started", now=now, status="canceled")
    told = update(Job).where(Job.id == job_id, Job.status == "running").returning(Job.id)
    if session.scalar(told.values(status="canceling", canceling_at=now)):
        history.append(session, job_id, "status", "asked to stop", now=now, status="canceling")
