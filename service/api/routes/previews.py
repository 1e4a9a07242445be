"""Generate images of a prompt with an edit and with its base model."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api_schemas.jobs import Page
from api_schemas.previews import Preview, PreviewRequest
from service.api.auth import ReadsArtifacts, ReadsEdits, WritesEdits
from service.api.dependencies import AppStateDep
from service.api.file_response import download_responses
from service.api.job_replies import (
    RETRY_AFTER,
    IdempotencyKey,
    accepted_response,
    cancel_job,
    idempotency_scope,
    json_response,
)
from service.api.paging import PageLimit
from service.api.routes.artifacts import artifact_response
from service.api.routes.edits import EditId, find_edit, load_edit
from service.api.strict_json import StrictJsonRoute
from service.core import edits, serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.previews import PendingPreview, preview_task
from service.errors import NotFound
from service.store import jobs
from service.store.ids import PREVIEW_ID
from service.store.orm import Job

router = APIRouter(prefix="/v1/edits/{edit_id}/previews", tags=["previews"], route_class=StrictJsonRoute)

IMAGE_CONTENT = {"image/png": {"schema": {"type": "string", "format": "binary"}, "example": "\x89PNG…"}}
PreviewId = Annotated[str, Path(description="The id that `POST /v1/edits/{edit_id}/previews` returned.")]
PreviewCursor = Annotated[str | None, Query(pattern=PREVIEW_ID, description="`next_cursor` of the previous page.")]
ImageName = Annotated[str, Path(description="File name of an image, as in `images`.", examples=["0-after.png"])]


@router.post("", status_code=edits.ACCEPTED, response_model=Preview, summary="Preview an edit")
def create(
    edit_id: EditId,
    body: PreviewRequest,
    app_state: AppStateDep,
    caller: WritesEdits,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue a small job that generates images of one prompt with the base model and with the edit, at equal seeds.

    What is applied is the published delta; of an edit that joined a ledger, it has all removals of that revision.
    """
    scope = idempotency_scope(app_state, caller, f"POST /v1/edits/{edit_id}/previews", idempotency_key)
    edit = load_edit(app_state, caller, edit_id)
    return submit_preview(app_state, PendingPreview(caller, scope, preview_task(edit, body)))


def submit_preview(app_state: AppState, pending: PendingPreview) -> Response:
    """Queue a preview, and return the response to its request."""
    submission = edits.submit(app_state, pending)
    preview = Preview.model_validate_json(submission.reply.body)
    return accepted_response(submission, preview.urls.self)


@router.get("", summary="List the previews of an edit, newest first")
def list_previews(
    edit_id: EditId,
    app_state: AppStateDep,
    caller: ReadsEdits,
    limit: PageLimit = 20,
    after: PreviewCursor = None,
) -> Page[Preview]:
    """Return a page of previews. Deleted ones are not listed."""
    with app_state.database.read() as session:
        find_edit(session, caller, edit_id)
        rows = jobs.list_previews(session, caller.tenant, edit_id, limit=limit + 1, after=after)
    return preview_page(app_state, rows, limit)


@router.get("/{preview_id}", response_model=Preview, summary="Read a preview")
def read(edit_id: EditId, preview_id: PreviewId, app_state: AppStateDep, caller: ReadsEdits) -> Response:
    """Return the current state of the job, with the paths of its images once it has succeeded."""
    return preview_response(app_state, load_preview(app_state, caller, edit_id, preview_id))


@router.post(
    "/{preview_id}/cancel", response_model=Preview, summary="Cancel a preview", responses={202: {"model": Preview}}
)
def cancel(edit_id: EditId, preview_id: PreviewId, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Return 202 if the job is about to stop, or 200 if it has ended, now or earlier."""
    return cancel_preview(app_state, caller, lambda: load_preview(app_state, caller, edit_id, preview_id))


@router.head("/{preview_id}/images/{name}", include_in_schema=False)
@router.get(
    "/{preview_id}/images/{name}",
    summary="Download an image of a preview",
    response_class=Response,
    responses=download_responses(IMAGE_CONTENT, redirected=True),
)
def read_image(
    edit_id: EditId,
    preview_id: PreviewId,
    name: ImageName,
    request: Request,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return a PNG, or 307 to a presigned bucket URL."""
    return artifact_response(app_state, load_preview(app_state, caller, edit_id, preview_id), name, request)


def load_preview(app_state: AppState, caller: Caller, edit_id: str, preview_id: str) -> Job:
    """Return a preview of the caller's edit. Raises `NotFound`."""
    with app_state.database.read() as session:
        job = jobs.get_preview(session, caller.tenant, edit_id, preview_id)
    if job is None:
        raise NotFound(
            f'There is no preview "{preview_id}" of this edit.',
            remedy=f"GET /v1/edits/{edit_id}/previews lists its previews; they are deleted after some hours.",
        )
    return job


def preview_page(app_state: AppState, rows: Sequence[Job], limit: int) -> Page[Preview]:
    """Return a page of previews from `limit + 1` jobs."""
    return serializers.page([serialize_preview(app_state, job) for job in rows], limit, lambda preview: preview.id)


def preview_response(app_state: AppState, job: Job) -> Response:
    """Return the current state of a preview, and when to ask again while it runs."""
    found = serialize_preview(app_state, job)
    headers = {"Cache-Control": "private, no-store"} | ({} if found.finished_at else RETRY_AFTER)
    return json_response(found.model_dump_json(), 200, headers)


def cancel_preview(app_state: AppState, caller: Caller, load: Callable[[], Job]) -> Response:
    """Cancel the preview that `load` returns, and return its new state: 202 if it is about to stop, 200 if it has ended."""
    return cancel_job(app_state, caller, "preview.cancel", load, partial(serialize_preview, app_state))


def serialize_preview(app_state: AppState, job: Job) -> Preview:
    """Return a preview as its owner sees it."""
    return serializers.preview(job, timedelta(hours=app_state.settings.preview_hours))
