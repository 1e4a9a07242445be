"""Queues, workers and jobs of all tenants, for operators."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api_schemas.jobs import JobKind, Page, Status
from api_schemas.operations import JobSummary, Queue, QueueName, Worker
from service.api.auth import ReadsService, WritesService
from service.api.dependencies import AppStateDep
from service.api.job_replies import IdempotencyKey, accepted_response, idempotency_scope
from service.api.paging import PageLimit
from service.core import edits, retries, serializers
from service.core.app_state import AppState
from service.core.retries import PendingRetry
from service.errors import found
from service.store import audit, jobs, queues, workers
from service.store.queues import QueueState

router = APIRouter(prefix="/v1", tags=["operations"])

QueueId = Annotated[QueueName, Path(description="The name in `GET /v1/queues`.")]
JobId = Annotated[str, Path(description="The id in `GET /v1/jobs`.")]


@router.get("/queues", summary="List the queues")
def list_queues(app_state: AppStateDep, caller: ReadsService) -> Page[Queue]:
    """Return how many jobs of all tenants wait and run in each queue, and whether it is paused."""
    with app_state.database.read() as session:
        return Page[Queue](data=[_queue(state) for state in queues.read_states(session)])


@router.post("/queues/{queue_name}/pause", summary="Pause a queue")
def pause(queue_name: QueueId, app_state: AppStateDep, caller: WritesService) -> Queue:
    """Let workers claim no more jobs of the queue. Running jobs end, and new ones are accepted and wait."""
    now = app_state.clock()
    with app_state.database.write() as session:
        if queues.pause(session, queue_name, caller.key_id, now=now):
            audit.record(session, caller.tenant, caller.key_id, "queue.pause", queue_name, now=now)
    return _read_queue(app_state, queue_name)


@router.post("/queues/{queue_name}/resume", summary="Resume a queue")
def resume(queue_name: QueueId, app_state: AppStateDep, caller: WritesService) -> Queue:
    """Let workers claim jobs of the queue again."""
    now = app_state.clock()
    with app_state.database.write() as session:
        if queues.resume(session, queue_name, now=now):
            audit.record(session, caller.tenant, caller.key_id, "queue.resume", queue_name, now=now)
    return _read_queue(app_state, queue_name)


@router.get("/workers", summary="List the workers")
def list_workers(app_state: AppStateDep, caller: ReadsService) -> Page[Worker]:
    """Return the workers that have reported within a day, with their state and the job that each runs."""
    now = app_state.clock()
    with app_state.database.read() as session:
        rows, current = workers.list_workers(session), workers.current_jobs(session)
        found = [
            Worker(
                name=row.name,
                state=workers.state_of(row, current.get(row.name), now),
                queues=row.queues,
                version=row.version,
                started_at=row.started_at,
                seen_at=row.seen_at,
                stopped_at=row.stopped_at,
                job=current.get(row.name),
            )
            for row in rows
        ]
    return Page[Worker](data=found)


@router.get("/jobs", summary="List the jobs of all tenants, newest first")
def list_jobs(
    app_state: AppStateDep,
    caller: ReadsService,
    limit: PageLimit = 20,
    after: Annotated[str | None, Query(max_length=40, description="`next_cursor` of the previous page.")] = None,
    status: Annotated[list[Status] | None, Query(description="Only jobs with one of these statuses.")] = None,
    kind: Annotated[list[JobKind] | None, Query(description="Only jobs of one of these kinds.")] = None,
) -> Page[JobSummary]:
    """Return a page of jobs of all kinds, without what their requests name."""
    with app_state.database.read() as session:
        rows = jobs.list_all(session, {"status": status, "kind": kind}, limit=limit + 1, after=after)
    return serializers.page([retries.summary(job) for job in rows], limit, lambda job: job.id)


@router.post("/jobs/{job_id}/retry", status_code=edits.ACCEPTED, response_model=JobSummary, summary="Retry a job")
def retry(
    job_id: JobId, app_state: AppStateDep, caller: WritesService, idempotency_key: IdempotencyKey = None
) -> Response:
    """Queue a new job on the request of one that has failed or expired, for the same tenant.

    The first job stays as it is. A case, a fleet or a model that waits for it waits for the new one.
    """
    with app_state.database.read() as session:
        job = found(jobs.get(session, job_id), "job", job_id, "/v1/jobs")
    scope = idempotency_scope(app_state, caller, f"POST /v1/jobs/{job_id}/retry", idempotency_key)
    submission = edits.submit(app_state, PendingRetry(caller, scope, job, app_state))
    app_state.registry.forget(job.model)
    return accepted_response(submission)


def _read_queue(app_state: AppState, name: QueueName) -> Queue:
    with app_state.database.read() as session:
        return next(_queue(state) for state in queues.read_states(session) if state.name == name)


def _queue(state: QueueState) -> Queue:
    return Queue(
        name=state.name,
        queued=state.queued,
        running=state.running,
        oldest_queued_at=state.oldest_queued_at,
        paused_at=state.pause.paused_at if state.pause else None,
        paused_by=state.pause.actor if state.pause else None,
    )
