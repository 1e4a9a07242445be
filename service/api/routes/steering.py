"""Generate images of a prompt with a group of features steered, and with the base model."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from api_schemas.jobs import Page
from api_schemas.previews import Preview, SteeringRequest
from service.api.auth import ReadsArtifacts, ReadsEdits, WritesEdits
from service.api.dependencies import AppStateDep
from service.api.file_response import download_responses
from service.api.job_replies import IdempotencyKey, idempotency_scope
from service.api.paging import PageLimit
from service.api.routes import previews
from service.api.routes.artifacts import artifact_response
from service.api.routes.features import Kind, open_features
from service.api.routes.models import ModelId, get_model
from service.api.routes.previews import (
    IMAGE_CONTENT,
    ImageName,
    PreviewCursor,
    preview_page,
    preview_response,
    submit_preview,
)
from service.api.strict_json import StrictJsonRoute
from service.core import edits
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.previews import PendingPreview, steering_task
from service.errors import NotFound
from service.store import jobs
from service.store.orm import Job

ROOT = "/v1/models/{model_id}/autoencoders/{kind}/previews"
router = APIRouter(prefix=ROOT, tags=["features"], route_class=StrictJsonRoute)

PreviewId = Annotated[str, Path(description=f"The id that `POST {ROOT}` returned.")]


@router.post("", status_code=edits.ACCEPTED, response_model=Preview, summary="Preview steered features")
def create_preview(
    model_id: ModelId,
    kind: Kind,
    body: SteeringRequest,
    app_state: AppStateDep,
    caller: WritesEdits,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue a small job that generates images of one prompt with the base model and with features steered, at equal seeds.

    The activations of the group are multiplied by `scale` at every position and in every step.
    """
    path = f"POST /v1/models/{model_id}/autoencoders/{kind}/previews"
    scope = idempotency_scope(app_state, caller, path, idempotency_key)
    browser = open_features(app_state, model_id, kind)
    return submit_preview(app_state, PendingPreview(caller, scope, steering_task(browser, body)))


@router.get("", summary="List the previews of steered features, newest first")
def list_steering_previews(
    model_id: ModelId,
    kind: Kind,
    app_state: AppStateDep,
    caller: ReadsEdits,
    limit: PageLimit = 20,
    after: PreviewCursor = None,
) -> Page[Preview]:
    """Return a page of your previews of this autoencoder's features. Deleted ones are not listed."""
    get_model(app_state, model_id)
    with app_state.database.read() as session:
        rows = jobs.list_steering_previews(session, caller.tenant, model_id, kind, limit=limit + 1, after=after)
    return preview_page(app_state, rows, limit)


@router.get("/{preview_id}", response_model=Preview, summary="Read a preview of steered features")
def read_preview(
    model_id: ModelId, kind: Kind, preview_id: PreviewId, app_state: AppStateDep, caller: ReadsEdits
) -> Response:
    """Return the current state of the job, with the paths of its images once it has succeeded."""
    return preview_response(app_state, load_preview(app_state, caller, model_id, kind, preview_id))


@router.post(
    "/{preview_id}/cancel",
    response_model=Preview,
    summary="Cancel a preview of steered features",
    responses={202: {"model": Preview}},
)
def cancel_preview(
    model_id: ModelId, kind: Kind, preview_id: PreviewId, app_state: AppStateDep, caller: WritesEdits
) -> Response:
    """Return 202 if the job is about to stop, or 200 if it has ended, now or earlier."""
    return previews.cancel_preview(
        app_state, caller, lambda: load_preview(app_state, caller, model_id, kind, preview_id)
    )


@router.head("/{preview_id}/images/{name}", include_in_schema=False)
@router.get(
    "/{preview_id}/images/{name}",
    summary="Download an image of a preview of steered features",
    response_class=Response,
    responses=download_responses(IMAGE_CONTENT, redirected=True),
)
def read_preview_image(
    model_id: ModelId,
    kind: Kind,
    preview_id: PreviewId,
    name: ImageName,
    request: Request,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return a PNG, or 307 to a presigned bucket URL."""
    return artifact_response(app_state, load_preview(app_state, caller, model_id, kind, preview_id), name, request)


def load_preview(app_state: AppState, caller: Caller, model_id: str, kind: str, preview_id: str) -> Job:
    """Return the caller's preview of steered features. Raises `NotFound`."""
    with app_state.database.read() as session:
        job = jobs.get_steering_preview(session, caller.tenant, model_id, kind, preview_id)
    if job is None:
        raise NotFound(
            f'There is no preview "{preview_id}" of these features.',
            remedy=f"GET /v1/models/{model_id}/autoencoders/{kind}/previews lists them; they are deleted after some hours.",
        )
    return job
