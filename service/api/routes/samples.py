"""Images of a validation while it runs."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api_schemas import samples as schemas
from api_schemas.jobs import Page
from api_schemas.previews import PreviewSide
from service.api.auth import ReadsArtifacts, ReadsEdits
from service.api.dependencies import AppStateDep
from service.api.file_response import CONTENT_SECURITY_POLICY
from service.api.routes.edits import EditId, find_edit
from service.core import serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.errors import NotFound
from service.store import samples
from service.store.orm import MAX_INTEGER, Sample

router = APIRouter(prefix="/v1/edits/{edit_id}/samples", tags=["samples"])

Number = Annotated[int, Path(ge=1, le=MAX_INTEGER, description="`number` of the sample.")]
Side = Annotated[PreviewSide, Path(description="By the base model, or by the edit.")]
IMAGE_CONTENT = {"image/webp": {"schema": {"type": "string", "format": "binary"}, "example": "RIFF…WEBP"}}
IMAGE_HEADERS = {
    "Cache-Control": "private, no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
}


@router.get("", summary="List the newest images of a running validation")
def list_samples(edit_id: EditId, app_state: AppStateDep, caller: ReadsEdits) -> Page[schemas.Sample]:
    """Return the newest samples first. An event with `samples` announces new ones; they are deleted when the job ends.

    An edit that withholds names has none. `GET /v1/edits/{edit_id}/comparison` lists the published images.
    """
    with app_state.database.read() as session:
        find_edit(session, caller, edit_id)
        return Page(data=[serializers.sample(row) for row in samples.newest_first(session, edit_id)])


@router.get(
    "/{number}/{side}",
    summary="Download an image of a running validation",
    response_class=Response,
    responses={200: {"content": IMAGE_CONTENT}},
)
def read_image(edit_id: EditId, number: Number, side: Side, app_state: AppStateDep, caller: ReadsArtifacts) -> Response:
    """Return a WebP image."""
    content = load_image(edit_id, number, side, app_state, caller)
    if content is None:
        raise NotFound(
            f'Edit "{edit_id}" has no such image.',
            remedy=f"GET /v1/edits/{edit_id}/samples lists the newest images while the edit is validated.",
        )
    return Response(content, headers=IMAGE_HEADERS, media_type="image/webp")


def load_image(edit_id: str, number: int, side: PreviewSide, app_state: AppState, caller: Caller) -> bytes | None:
    """Return a WebP image; None if there is none, or none any more. Raises NotFound: the caller has no such edit."""
    with app_state.database.read() as session:
        find_edit(session, caller, edit_id)
        row = session.get(Sample, (edit_id, number))
        return None if row is None else row.before if side == "before" else row.after
