"""The bytes of published files: from the blob store, from the base model and a delta, or from a presigned URL."""

from functools import partial

from fastapi import Request, Response
from fastapi.responses import RedirectResponse

from api_schemas.overlays import Overlay
from service.api.file_response import RangeReader
from service.core.app_state import AppState
from service.errors import BaseModelChanged
from service.store import orm
from service.store.errors import UnknownModel


def artifact_reader(app_state: AppState, job: orm.Job, artifact: orm.Artifact) -> RangeReader:
    """Return a reader of the stored file, or of one that is assembled from the base model."""
    if artifact.overlay is None:
        return partial(app_state.blobs.open, artifact.sha256)
    overlay = Overlay.model_validate(artifact.overlay)
    try:
        base = app_state.registry.get(job.model).base_file(overlay.base)
    except UnknownModel as error:
        raise BaseModelChanged(error.message, remedy="Ask the operator to register the base model again.") from error
    return partial(app_state.overlays.open, overlay, base)


def presigned_redirect(app_state: AppState, sha256: str | None, request: Request) -> Response | None:
    """Redirect to a presigned URL if redirects are enabled and the file is stored whole in a bucket, under `sha256`."""
    seconds = app_state.settings.redirect_seconds
    if not seconds or sha256 is None or request.method == "HEAD":
        return None
    url = app_state.blobs.url(sha256, seconds)
    return RedirectResponse(url, 307, {"Cache-Control": "no-store"}) if url else None
