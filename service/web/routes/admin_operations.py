"""Administration of queues, workers and failed jobs, for operators."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from api_schemas.operations import RETRYABLE_KINDS, RETRYABLE_STATUSES
from service.api.auth import ReadsService, WritesService
from service.api.dependencies import AppStateDep
from service.api.routes import operations
from service.api.routes.operations import JobId, QueueId
from service.web.admin_sections import PAGE_SIZE, render_section

router = APIRouter(prefix="/admin")


@router.get("/operations")
def show_operations(
    request: Request,
    app_state: AppStateDep,
    caller: ReadsService,
    after: Annotated[str | None, Query(max_length=40)] = None,
) -> Response:
    """Show the queues, the workers and the jobs that can be retried."""
    return render_section(
        request,
        "admin_operations.html",
        queues=operations.list_queues(app_state, caller).data,
        workers=operations.list_workers(app_state, caller).data,
        failed=operations.list_jobs(
            app_state, caller, PAGE_SIZE, after, list(RETRYABLE_STATUSES), list(RETRYABLE_KINDS)
        ),
        can_write="service:write" in caller.scopes,
    )


@router.post("/queues/{queue_name}/pause")
def pause(queue_name: QueueId, app_state: AppStateDep, caller: WritesService) -> Response:
    """Pause a queue."""
    operations.pause(queue_name, app_state, caller)
    return _to_operations()


@router.post("/queues/{queue_name}/resume")
def resume(queue_name: QueueId, app_state: AppStateDep, caller: WritesService) -> Response:
    """Resume a queue."""
    operations.resume(queue_name, app_state, caller)
    return _to_operations()


@router.post("/jobs/{job_id}/retry")
def retry(job_id: JobId, app_state: AppStateDep, caller: WritesService) -> Response:
    """Retry a job."""
    operations.retry(job_id, app_state, caller, uuid4().hex)
    return _to_operations()


def _to_operations() -> Response:
    return RedirectResponse("/admin/operations", 303)
