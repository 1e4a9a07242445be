"""The list of jobs, whose URL is the filter, and the page of a job with its live progress."""

import json
from http import HTTPStatus
from typing import Annotated, get_args
from urllib.parse import urlencode

from fastapi import APIRouter, FastAPI, Header, Query, Request, Response
from starlette.responses import RedirectResponse

from api_schemas.jobs import EDIT_KINDS, Edit, JobKind, Status
from api_schemas.report import Verdict
from service.api.auth import ReadsArtifacts, ReadsEdits, WritesEdits
from service.api.dependencies import AppStateDep, BatchedCallsDep
from service.api.event_stream import StreamCursor, stream_response
from service.api.openapi import iter_routes
from service.api.request_batching import EditKey
from service.api.routes import artifacts, edits, samples
from service.api.routes.edits import EditId, find_edit, load_edit
from service.core import serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import PendingEdit, submit
from service.errors import edit_not_found
from service.store import events, jobs
from service.store.ids import EDIT_ID, is_edit
from service.store.orm import MAX_INTEGER
from service.web.job_views import ADVICE, JobProgress, LiveEncoder, logged_events
from service.web.rendering import render

router = APIRouter(prefix="/jobs")

PAGE_SIZE = 25
MAX_SHOWN_EVENTS = 1000
RELATED = (
    ("Compare images", "/compare/{edit_id}", "artifacts:read"),
    ("Report", "/report/{edit_id}", "artifacts:read"),
    ("Try a prompt", "/try/{edit_id}", "edits:write"),
)
"""Pages about a job that has succeeded, and the scopes that open them."""
FILE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
DEFAULT_ADVICE = "Change the request and submit it again."


@router.get("")
def list_jobs(
    request: Request,
    app_state: AppStateDep,
    caller: ReadsEdits,
    status: Annotated[Status | None, Query()] = None,
    verdict: Annotated[Verdict | None, Query()] = None,
    kind: Annotated[JobKind | None, Query()] = None,
    model: Annotated[str | None, Query(max_length=100)] = None,
    after: Annotated[str | None, Query(pattern=EDIT_ID)] = None,
) -> Response:
    """Show a page of jobs, newest first."""
    filters = {"status": status, "verdict": verdict, "kind": kind, "model": model}
    page = edits.list_edits(app_state, caller, PAGE_SIZE, after, status, model, verdict, kind)
    with app_state.database.read() as session:
        counts = jobs.count_by_status(session, caller.tenant)

    def url(**changes: str | None) -> str:
        query = {name: value for name, value in (filters | changes).items() if value}
        return f"{router.prefix}?{urlencode(query)}" if query else router.prefix

    return render(
        request,
        "jobs.html",
        edits=page.data,
        filters=filters,
        counts=counts,
        max_count=jobs.MAX_COUNTED,
        url=url,
        choices={"verdict": get_args(Verdict), "kind": EDIT_KINDS, "model": [m.id for m in app_state.registry.all()]},
        is_filtered=any(filters.values()),
        is_first_page=after is None,
        older_url=url(after=page.next_cursor) if page.has_more else None,
    )


@router.get("/{edit_id}")
def show_job(request: Request, edit_id: EditId, app_state: AppStateDep, caller: ReadsEdits) -> Response:
    """Show a job. While it is unfinished, the page follows it."""
    with app_state.database.read() as session:
        edit = serializers.edit(find_edit(session, caller, edit_id))
        found = [serializers.event(row) for row in events.after(session, edit_id, 0, MAX_SHOWN_EVENTS)]
    can_download = "artifacts:read" in caller.scopes
    return render(
        request,
        "job.html",
        edit=edit,
        progress=JobProgress.of(edit),
        events=logged_events(found),
        last_seq=found[-1].seq if found else 0,
        advice=ADVICE.get(edit.error.code, DEFAULT_ADVICE) if edit.error else "",
        related=_related_pages(request.app, caller, edit),
        again_url=f"/remove?edit={edit.id}",
        can_write="edits:write" in caller.scopes,
        can_download=can_download,
        shows_samples=can_download and generates_samples(edit),
        samples=samples.list_samples(edit_id, app_state, caller).data,
    )


@router.get("/{edit_id}/stream")
async def follow_job(
    edit_id: EditId,
    app_state: AppStateDep,
    batched_calls: BatchedCallsDep,
    caller: ReadsEdits,
    after: Annotated[int, Query(ge=0, le=MAX_INTEGER)] = 0,
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_INTEGER)] = None,
) -> Response:
    """Stream parts of the job's page as they change."""
    if not is_edit(edit_id):
        raise edit_not_found(edit_id)
    job = await batched_calls.get_job(EditKey(caller.tenant, edit_id))
    cursor = StreamCursor(caller.tenant, edit_id, after if last_event_id is None else last_event_id)
    encoder = LiveEncoder(JobProgress.of(serializers.edit(job)))
    return await stream_response(app_state, batched_calls.poll_events, cursor, encoder)


@router.get("/{edit_id}/samples/{number}/{side}")
def read_sample(
    edit_id: EditId, number: samples.Number, side: samples.Side, app_state: AppStateDep, caller: ReadsArtifacts
) -> Response:
    """Return an image of a running validation; nothing if the job has ended since the page was rendered."""
    content = samples.load_image(edit_id, number, side, app_state, caller)
    if content is None:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return Response(content, headers=samples.IMAGE_HEADERS, media_type="image/webp")


@router.post("/{edit_id}/cancel")
def cancel_job(edit_id: EditId, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Cancel the job and show it again."""
    edits.cancel(edit_id, app_state, caller)
    return RedirectResponse(f"{router.prefix}/{edit_id}", 303)


@router.post("/{edit_id}/retry")
def retry_job(edit_id: EditId, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Submit the request of a job again, as a new job."""
    edit = serializers.edit(load_edit(app_state, caller, edit_id))
    return RedirectResponse(f"{router.prefix}/{submit_edit(app_state, caller, edit)}", 303)


@router.get("/{edit_id}/files/{name:path}")
async def read_file(
    edit_id: EditId,
    name: str,
    request: Request,
    app_state: AppStateDep,
    batched_calls: BatchedCallsDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return a published file. Opened as a page, it may neither run scripts nor load anything."""
    response = await artifacts.read_artifact(edit_id, name, request, app_state, batched_calls, caller)
    response.headers["Content-Security-Policy"] = FILE_POLICY
    return response


def generates_samples(edit: Edit) -> bool:
    """Return whether the job shows images while it runs."""
    request = edit.request
    is_validated = edit.kind == "removal" and request.validation.enabled
    return is_validated and not edit.finished and not request.withhold_names


def submit_edit(app_state: AppState, caller: Caller, edit: Edit) -> str:
    """Submit the request of an edit again and return the id of the new job."""
    submission = submit(app_state, PendingEdit(caller, None, edit.request))
    return str(json.loads(submission.reply.body)["id"])


def _related_pages(pages: FastAPI, caller: Caller, edit: Edit) -> list[tuple[str, str]]:
    """Return label and URL of the pages about the job's result that exist and that the caller may open."""
    if edit.status != "succeeded":
        return []
    paths = {route.path for route in iter_routes(pages)}
    return [
        (label, path.format(edit_id=edit.id))
        for label, path, scope in RELATED
        if path in paths and scope in caller.scopes
    ]
