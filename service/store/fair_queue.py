"""Which job a worker runs next: by priority, then the base model that the worker has in memory, then the tenant whose turn it
is, then the tenant's oldest job.

A message from the broker means that a job is waiting. Which one is decided here, when the worker is free: messages are
delivered in the order in which they were sent, so a tenant that sends many jobs would delay all others.

Jobs on the worker's base model come first only until another job has waited for `MAX_WARM_WAIT`. From then on the two are
equal, and the turn decides, so that nobody is starved.
"""

from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import ColumnElement, ScalarSelect, Select, case, literal, or_, select
from sqlalchemy.orm import Session, aliased

from service.store import claims, queues
from service.store.celery_config import queue_for
from service.store.claims import Claim
from service.store.orm import Job, OutboxMessage

PRIORITY_RANKS = {"high": 0, "low": 2}
"""Jobs with another priority, or none, have rank 1."""
MAX_WARM_WAIT = timedelta(seconds=60)
"""How long a job may be delayed by others on the worker's base model: about the time in which a large one is loaded."""


def claim_next(
    session: Session, job_id: str, *, owner: str, lease: timedelta, now: datetime, warm_model: str | None = None
) -> Claim | None:
    """Claim the job that runs next, given the message of a job in the same queue. Returns None if there is nothing to do,
    or the queue is paused.

    Each queued job has its own message, so a job that has to wait for another one is claimed with one of the following
    messages. A job that `owner` was running when it died comes first.

    Args:
        warm_model: the base model that the worker has in memory.
    """
    claim = partial(claims.claim, session, owner=owner, lease=lease, now=now)
    interrupted = session.scalar(select(Job.id).where(Job.status == "running", Job.lease_owner == owner))
    if interrupted and (resumed := claim(interrupted)):
        return resumed
    if queues.is_paused(session, queue_for(job_id)):
        return None
    while following := session.scalar(_next_in_turn(job_id, warm_model, now)):
        if claimed := claim(following):  # otherwise another worker was faster
            return claimed
    return claim(job_id)  # its worker may have died


def _next_in_turn(job_id: str, warm_model: str | None, now: datetime) -> Select[str]:
    """Return the query of the queued job that runs next.

    Jobs whose message was not sent yet are left out: they may have to wait before they are tried again.
    """
    rank = case(PRIORITY_RANKS, value=Job.request["priority"].as_string(), else_=1)
    waiting = (
        select(Job.id, Job.tenant, rank.label("rank"), _is_cold(warm_model, now).label("cold"))
        .join(OutboxMessage, OutboxMessage.job_id == Job.id)
        .where(_shares_queue(Job, job_id), Job.status == "queued", Job.attempt < Job.max_attempts)
        .where(or_(OutboxMessage.send_count > 0, Job.id == job_id))
        .cte("waiting")
    )
    tenants = select(waiting.c.tenant).distinct().subquery()
    turns = select(tenants.c.tenant, _last_start(tenants.c.tenant, job_id).label("last")).subquery()
    query = select(waiting.c.id).join(turns, turns.c.tenant == waiting.c.tenant)
    return query.order_by(waiting.c.rank, waiting.c.cold, turns.c.last.nulls_first(), waiting.c.id).limit(1)


def _is_cold(warm_model: str | None, now: datetime) -> ColumnElement[int]:
    """Return 1 for jobs that wait while the worker has another base model in memory, and have not waited for long."""
    if warm_model is None:
        return literal(0)
    return case((or_(Job.model == warm_model, Job.queued_at <= now - MAX_WARM_WAIT), 0), else_=1)


def _last_start(tenant: ColumnElement[str], job_id: str) -> ScalarSelect[datetime | None]:
    """Return when the tenant's latest job in the queue was started. `ix_jobs_tenant_started_at` makes it fast."""
    other = aliased(Job)
    started = select(other.started_at).where(
        other.tenant == tenant, other.started_at.is_not(None), _shares_queue(other, job_id)
    )
    return started.order_by(other.started_at.desc()).limit(1).scalar_subquery()


def _shares_queue(job: type[Job], job_id: str) -> ColumnElement[bool]:
    return queues.is_in(queue_for(job_id), job)
