"""Published files, and the report among them."""

import json
from functools import partial
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from api_schemas.jobs import Artifact, Page
from api_schemas.overlays import Overlay
from api_schemas.report import AuditReport
from service.api.auth import ReadsArtifacts
from service.api.file_response import ANY_FILE, Content, download, replies
from service.api.openapi_examples import EXAMPLES
from service.api.request_batching import TogetherDep, Wanted
from service.api.routes.edits import EditId, found
from service.core import serializers
from service.core.app_state import Backend, BackendDep
from service.core.caller import Caller
from service.errors import BaseModelChanged, NotFound
from service.store import jobs, orm
from service.store.errors import UnknownModel

router = APIRouter(prefix="/v1/edits/{edit_id}", tags=["artifacts"])

Format = Literal["json", "html"]
FileName = Annotated[str, Path(description="Path inside the bundle.", examples=["text_encoder/model.safetensors"])]
ATTESTATIONS = "attestation.intoto.jsonl"
REPORTS: dict[Format, str] = {"json": "report.json", "html": "report.html"}
HTML = {"text/html": {"schema": {"type": "string"}, "example": "<!doctype html>\n<title>Audit report</title>\n…\n"}}
ENVELOPES = {
    "application/jsonl": {
        "itemSchema": {"$ref": "#/components/schemas/Envelope"},
        "example": json.dumps(EXAMPLES["Envelope"]) + "\n",
    }
}


@router.get("/artifacts", summary="List the published files")
def list_artifacts(edit_id: EditId, backend: BackendDep, caller: ReadsArtifacts) -> Page[Artifact]:
    """All of them; empty until the edit has succeeded."""
    return Page[Artifact](data=[serializers.artifact(row) for row in _job(backend, caller, edit_id).artifacts])


@router.head("/artifacts/{name:path}", include_in_schema=False)
@router.get(
    "/artifacts/{name:path}",
    summary="Download a file",
    response_class=Response,
    responses={**replies(ANY_FILE), 307: {"description": "The file lies in a bucket: `Location` says where."}},
)
async def read_artifact(
    edit_id: EditId,
    name: FileName,
    request: Request,
    backend: BackendDep,
    together: TogetherDep,
    caller: ReadsArtifacts,
) -> Response:
    """The bytes, or 307 to where they lie in a bucket. `Range` is understood; the ETag is the sha256."""
    job = await together.look(Wanted(caller.tenant, edit_id))
    return await run_in_threadpool(_send, backend, job, name, request)


def _send(backend: Backend, job: orm.Job, name: str, request: Request) -> Response:
    return _redirect(backend, _artifact(job, name), request) or download_of(backend, job, name, request)


@router.head("/report", include_in_schema=False)
@router.get("/report", summary="The audit report", response_model=AuditReport, responses=replies(HTML))
def read_report(
    edit_id: EditId,
    request: Request,
    backend: BackendDep,
    caller: ReadsArtifacts,
    format: Annotated[Format | None, Query(description="Overrides the Accept header.")] = None,
) -> Response:
    """As JSON or as HTML: what `?format=` says, else what the client accepts first."""
    chosen = format or _accepted(request.headers.get("accept", ""))
    response = download_of(backend, _job(backend, caller, edit_id), REPORTS[chosen], request)
    response.headers["Vary"] = "Accept"
    return response


@router.head("/report.{format}", include_in_schema=False)
@router.get(
    "/report.{format}", summary="The audit report in one form", response_model=AuditReport, responses=replies(HTML)
)
def read_report_as(
    edit_id: EditId,
    format: Annotated[Format, Path(description="In which form.")],
    request: Request,
    backend: BackendDep,
    caller: ReadsArtifacts,
) -> Response:
    """The report in one form."""
    return download_of(backend, _job(backend, caller, edit_id), REPORTS[format], request)


@router.head("/attestations", include_in_schema=False)
@router.get("/attestations", summary="The signed attestations", response_class=Response, responses=replies(ENVELOPES))
def read_attestations(edit_id: EditId, request: Request, backend: BackendDep, caller: ReadsArtifacts) -> Response:
    """DSSE envelopes around in-toto statements, a line each. `expunge verify` checks them."""
    return download_of(backend, _job(backend, caller, edit_id), ATTESTATIONS, request)


def _job(backend: Backend, caller: Caller, edit_id: str) -> orm.Job:
    with backend.database.read() as session:
        return found(jobs.edit_of(session, caller.tenant, edit_id), edit_id)


def _redirect(backend: Backend, artifact: orm.Artifact, request: Request) -> Response | None:
    """To a presigned URL, if the operator wants it and the file lies in a bucket as it is."""
    seconds = backend.settings.redirect_seconds
    if not seconds or artifact.overlay is not None or request.method == "HEAD":
        return None
    url = backend.blobs.url(artifact.sha256, seconds)
    return RedirectResponse(url, 307, {"Cache-Control": "no-store"}) if url else None


def download_of(backend: Backend, job: orm.Job, name: str, request: Request) -> Response:
    """One of a job's files."""
    artifact = _artifact(job, name)
    return download(content_of(backend, job, artifact), artifact, request)


def content_of(backend: Backend, job: orm.Job, artifact: orm.Artifact) -> Content:
    """What is stored, or what is put together from the base model."""
    if artifact.overlay is None:
        return partial(backend.blobs.open, artifact.sha256)
    try:
        folder = backend.registry.get(job.model).folder
    except UnknownModel as error:
        raise BaseModelChanged(error.message, remedy="Have the operator register the base model again.") from error
    return partial(backend.overlays.open, Overlay.model_validate(artifact.overlay), folder)


def _artifact(job: orm.Job, name: str) -> orm.Artifact:
    for row in job.artifacts:
        if row.name == name:
            return row
    raise NotFound(
        f'edit "{job.id}" is {job.status} and has no file "{name}".',
        remedy=f"GET /v1/edits/{job.id}/artifacts lists its files, once it has succeeded.",
    )


def _accepted(accept: str) -> Format:
    """HTML for a browser, which names it before JSON; JSON for everybody else."""
    html, json = accept.find("text/html"), accept.find("application/json")
    return "html" if html >= 0 and (json < 0 or html < json) else "json"
