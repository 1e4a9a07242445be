"""Images of an edit's validation, before and after."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from api_schemas.comparisons import Comparison
from api_schemas.judging import GroupName
from service.api.auth import ReadsArtifacts
from service.api.dependencies import AppStateDep
from service.api.file_response import download_responses
from service.api.packed_images import packed_image_response
from service.api.routes.edits import EditId, load_edit
from service.core.app_state import AppState
from service.core.comparisons import Order, find_image, read_comparison
from service.store import orm

router = APIRouter(prefix="/v1/edits/{edit_id}/comparison", tags=["comparisons"])

Group = Annotated[GroupName | None, Query(description="Only pairs of this group of prompts.")]
PairOrder = Annotated[Order, Query(description="`changed`: the pairs that changed most first.")]
ComparedName = Annotated[str, Path(description="Name of an image in the index.", examples=["0003-before.webp"])]
IMAGE_CONTENT = {"image/webp": {"schema": {"type": "string", "format": "binary"}, "example": "RIFF…WEBP"}}


@router.get("", summary="List images before and after an edit")
def read(
    edit_id: EditId, app_state: AppStateDep, caller: ReadsArtifacts, group: Group = None, order: PairOrder = "group"
) -> Comparison:
    """Return prompt, seed, scores and image names of each pair. `comparison.zip` among the edit's files has all images."""
    job = load_edit(app_state, caller, edit_id)
    return read_comparison(app_state, job, group, order)


@router.head("/images/{name}", include_in_schema=False)
@router.get(
    "/images/{name}",
    summary="Download an image before or after an edit",
    response_class=Response,
    responses=download_responses(IMAGE_CONTENT),
)
def read_image(
    edit_id: EditId, name: ComparedName, request: Request, app_state: AppStateDep, caller: ReadsArtifacts
) -> Response:
    """Return a WebP image."""
    job = load_edit(app_state, caller, edit_id)
    return compared_image(app_state, job, name, request)


def compared_image(app_state: AppState, job: orm.Job, name: str, request: Request) -> Response:
    """Return the response for an image of the comparison. Raises `NotFound`."""
    archive, image = find_image(app_state, job, name)
    return packed_image_response(app_state, archive, image, "image/webp", request)
