"""Steer a group of features: a slider, and the images of a prompt with the base model and with the group scaled."""

from typing import Annotated

from fastapi import APIRouter, Form, Query, Request, Response
from pydantic import ValidationError
from starlette.responses import RedirectResponse

from api_schemas.features import Feature
from api_schemas.previews import MAX_GROUP, Preview, SteeringRequest
from api_schemas.problems import invalid_fields
from service.api.auth import ReadsArtifacts, ReadsEdits, ReadsModels, WritesEdits
from service.api.dependencies import AppStateDep
from service.api.routes.features import Kind, open_features
from service.api.routes.models import ModelId
from service.api.routes.previews import ImageName, PreviewCursor, PreviewId, serialize_preview
from service.api.routes.steering import list_steering_previews, load_preview
from service.core import edits
from service.core.features import FeatureBrowser
from service.core.previews import PendingPreview, steering_task
from service.errors import ServiceError
from service.web.edit_pages import image_response
from service.web.rendering import render

router = APIRouter(prefix="/features/{model_id}/{kind}/steer")

PAGE_SIZE = 25
SEED_COUNTS = (1, 2, 4, 8)
DEFAULT_SEEDS, DEFAULT_SCALE = 2, 3.0


@router.get("")
def show_form(
    request: Request,
    model_id: ModelId,
    kind: Kind,
    app_state: AppStateDep,
    caller: WritesEdits,
    reader: ReadsModels,
    latents: Annotated[list[int], Query(max_length=MAX_GROUP)] = [],  # noqa: B006
) -> Response:
    """Show the features of a group and the form."""
    browser = open_features(app_state, model_id, kind)
    return _page(request, browser, [browser.feature(latent) for latent in latents])


@router.post("")
def create(
    request: Request,
    model_id: ModelId,
    kind: Kind,
    app_state: AppStateDep,
    caller: WritesEdits,
    reader: ReadsModels,
    latents: Annotated[list[int], Form()] = [],  # noqa: B006
    prompt: Annotated[str, Form()] = "",
    scale: Annotated[float, Form()] = DEFAULT_SCALE,
    count: Annotated[int, Form()] = DEFAULT_SEEDS,
) -> Response:
    """Queue a preview and show it, or the form with what is wrong."""
    browser = open_features(app_state, model_id, kind)
    group = [browser.feature(latent) for latent in latents]
    try:
        seeds = list(range(min(count, max(SEED_COUNTS))))
        body = SteeringRequest(prompt=prompt, seeds=seeds, latents=latents, scale=scale)
        submission = edits.submit(app_state, PendingPreview(caller, None, steering_task(browser, body)))
    except ValidationError as error:
        first = invalid_fields(error.errors())[0]
        message = f"{first.field}: {first.message}. {first.remedy}"
        return _page(request, browser, group, prompt=prompt, scale=scale, error=message, status=422)
    except ServiceError as error:
        message = f"{error.message} {error.remedy}"
        return _page(request, browser, group, prompt=prompt, scale=scale, error=message, status=error.status)
    preview = Preview.model_validate_json(submission.reply.body)
    return RedirectResponse(f"/features/{model_id}/{kind}/steer/{preview.id}", 303)


@router.get("/previews")
def show_previews(
    request: Request,
    model_id: ModelId,
    kind: Kind,
    app_state: AppStateDep,
    caller: ReadsEdits,
    reader: ReadsModels,
    after: PreviewCursor = None,
) -> Response:
    """Show the previews that are not deleted yet, newest first."""
    page = list_steering_previews(model_id, kind, app_state, caller, PAGE_SIZE, after)
    can_write = "edits:write" in caller.scopes
    return render(request, "steered.html", model_id=model_id, kind=kind, page=page, after=after, can_write=can_write)


@router.get("/{preview_id}")
def show_preview(
    request: Request,
    model_id: ModelId,
    kind: Kind,
    preview_id: PreviewId,
    app_state: AppStateDep,
    caller: WritesEdits,
    reader: ReadsModels,
) -> Response:
    """Show a preview. While it is not finished, the page asks again every second."""
    browser = open_features(app_state, model_id, kind)
    found = serialize_preview(app_state, load_preview(app_state, caller, model_id, kind, preview_id))
    latents = found.steering.latents if found.steering else []
    scale = found.steering.scale if found.steering else DEFAULT_SCALE
    group = [browser.feature(latent) for latent in latents]
    return _page(request, browser, group, preview=found, prompt=found.request.prompt, scale=scale)


@router.get("/{preview_id}/images/{name}")
def read_image(
    request: Request,
    model_id: ModelId,
    kind: Kind,
    preview_id: PreviewId,
    name: ImageName,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return an image of a preview."""
    return image_response(app_state, load_preview(app_state, caller, model_id, kind, preview_id), name, request)


def _page(
    request: Request,
    browser: FeatureBrowser,
    group: list[Feature],
    *,
    preview: Preview | None = None,
    prompt: str = "",
    scale: float = DEFAULT_SCALE,
    error: str = "",
    status: int = 200,
) -> Response:
    return render(
        request,
        "steer.html",
        status=status,
        autoencoder=browser.autoencoder,
        group=group,
        preview=preview,
        prompt=prompt,
        scale=scale,
        error=error,
        counts=SEED_COUNTS,
        count=len(preview.request.seeds) if preview else DEFAULT_SEEDS,
    )
