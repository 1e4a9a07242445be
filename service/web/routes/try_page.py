"""Try an edit with a prompt of one's own: images by the base model and by the edit, side by side."""

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from pydantic import ValidationError
from starlette.responses import RedirectResponse

from api_schemas.previews import Preview, PreviewRequest
from api_schemas.problems import invalid_fields
from service.api.auth import ReadsArtifacts, WritesEdits
from service.api.dependencies import AppStateDep
from service.api.routes.edits import EditId, load_edit
from service.api.routes.previews import ImageName, PreviewId, list_previews, load_preview, serialize_preview
from service.core import edits, serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.previews import PendingPreview, preview_task
from service.errors import ServiceError
from service.store.orm import Job
from service.web.edit_pages import choose_edit, image_response
from service.web.rendering import render

router = APIRouter(prefix="/try")

SEED_COUNTS = (1, 2, 4, 8)
DEFAULT_SEEDS = 2


@router.get("")
def choose(request: Request, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Show the edits that can be tried."""
    return choose_edit(
        request, app_state, caller, "Try", "Type a prompt and see the base model and an edit of it at equal seeds."
    )


@router.get("/{edit_id}")
def show_form(request: Request, edit_id: EditId, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Show the form, and the previews that are not deleted yet."""
    return _page(request, app_state, caller, load_edit(app_state, caller, edit_id))


@router.post("/{edit_id}")
def create(
    request: Request,
    edit_id: EditId,
    app_state: AppStateDep,
    caller: WritesEdits,
    prompt: Annotated[str, Form()] = "",
    count: Annotated[str, Form()] = str(DEFAULT_SEEDS),
) -> Response:
    """Queue a preview and show it, or the form with what is wrong."""
    job = load_edit(app_state, caller, edit_id)
    seeds = list(range(int(count) if count.isdecimal() else 0))[: max(SEED_COUNTS)]
    try:
        body = PreviewRequest(prompt=prompt, seeds=seeds)
        submission = edits.submit(app_state, PendingPreview(caller, None, preview_task(job, body)))
    except ValidationError as error:
        messages = {field.field: f"{field.message}. {field.remedy}" for field in invalid_fields(error.errors())}
        return _page(request, app_state, caller, job, prompt=prompt, errors=messages, status=422)
    except ServiceError as error:
        messages = {"": f"{error.message} {error.remedy}"}
        return _page(request, app_state, caller, job, prompt=prompt, errors=messages, status=error.status)
    preview = Preview.model_validate_json(submission.reply.body)
    return RedirectResponse(f"/try/{edit_id}/{preview.id}", 303)


@router.get("/{edit_id}/{preview_id}")
def show_preview(
    request: Request, edit_id: EditId, preview_id: PreviewId, app_state: AppStateDep, caller: WritesEdits
) -> Response:
    """Show a preview. While it is not finished, the page asks again every second."""
    job = load_edit(app_state, caller, edit_id)
    found = serialize_preview(app_state, load_preview(app_state, caller, edit_id, preview_id))
    return _page(request, app_state, caller, job, preview=found, prompt=found.request.prompt)


@router.get("/{edit_id}/{preview_id}/images/{name}")
def read_image(
    request: Request,
    edit_id: EditId,
    preview_id: PreviewId,
    name: ImageName,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return an image of a preview."""
    return image_response(app_state, load_preview(app_state, caller, edit_id, preview_id), name, request)


def _page(
    request: Request,
    app_state: AppState,
    caller: Caller,
    job: Job,
    *,
    preview: Preview | None = None,
    prompt: str = "",
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    earlier = list_previews(job.id, app_state, caller, limit=10)
    return render(
        request,
        "try.html",
        status=status,
        edit=serializers.edit(job),
        preview=preview,
        prompt=prompt,
        errors=errors or {},
        earlier=[one for one in earlier.data if preview is None or one.id != preview.id],
        counts=SEED_COUNTS,
        count=len(preview.request.seeds) if preview else DEFAULT_SEEDS,
        has_weights=any(file.kind == "delta" for file in job.artifacts),
    )
