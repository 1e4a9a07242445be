"""Administration for operators: API keys of all tenants, queues, workers and failed jobs."""

from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from api_schemas.access import SCOPE_DESCRIPTIONS, TENANT_SCOPES
from api_schemas.operations import RETRYABLE_KINDS, RETRYABLE_STATUSES, ApiKey, ApiKeyRequest
from service.api.auth import ReadsService, WritesService
from service.api.dependencies import AppStateDep
from service.api.routes import api_keys, operations
from service.api.routes.api_keys import KeyId
from service.api.routes.operations import JobId, QueueId
from service.core.app_state import AppState
from service.core.caller import Caller
from service.errors import ServiceError
from service.web import forms
from service.web.admin_sections import PAGE_SIZE, render_section
from service.web.forms import FormDep, FormFields

router = APIRouter(prefix="/admin")

NOTHING_SENT = FormFields({"scopes": list(TENANT_SCOPES)})


@router.get("/keys")
def list_keys(request: Request, app_state: AppStateDep, caller: ReadsService) -> Response:
    """Show the API keys, and the form for a new one."""
    return _keys_page(request, app_state, caller)


@router.post("/keys")
def create_key(request: Request, app_state: AppStateDep, caller: WritesService, form: FormDep) -> Response:
    """Create a key, and show it this once."""
    try:
        created = api_keys.create(_parse_key(form), app_state, caller)
    except ServiceError as error:
        return _keys_page(request, app_state, caller, form, error=error)
    return _keys_page(request, app_state, caller, created=created)


@router.post("/keys/{key_id}/revoke")
def revoke_key(key_id: KeyId, app_state: AppStateDep, caller: WritesService) -> Response:
    """Revoke a key."""
    api_keys.revoke(key_id, app_state, caller)
    return RedirectResponse("/admin/keys", 303)


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


def _parse_key(form: FormFields) -> ApiKeyRequest:
    days = form.text("days")
    sent = {"tenant": form.text("tenant"), "name": form.text("name"), "scopes": form.all("scopes")}
    return forms.parse(ApiKeyRequest, sent | ({"days": form.number("days")} if days else {}))


def _keys_page(
    request: Request,
    app_state: AppState,
    caller: Caller,
    form: FormFields = NOTHING_SENT,
    *,
    created: ApiKey | None = None,
    error: ServiceError | None = None,
) -> Response:
    return render_section(
        request,
        "admin_keys.html",
        status=error.status if error else 200,
        keys=api_keys.list_keys(app_state, caller).data,
        created=created,
        form=form,
        error=error,
        scopes=SCOPE_DESCRIPTIONS,
        now=app_state.clock(),
        can_write="service:write" in caller.scopes,
    )


def _to_operations() -> Response:
    return RedirectResponse("/admin/operations", 303)
