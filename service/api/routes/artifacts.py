"""Published files, reports and attestations of an edit."""

import json
import re
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api_schemas.jobs import Artifact, Page
from api_schemas.report import AuditReport
from service.api.artifact_files import artifact_reader, presigned_redirect
from service.api.auth import ReadsArtifacts
from service.api.dependencies import AppStateDep, BatchedCallsDep
from service.api.file_response import ANY_CONTENT, download_responses, file_response
from service.api.openapi_examples import EXAMPLES
from service.api.request_batching import EditKey
from service.api.routes.edits import EditId, load_edit
from service.core import serializers
from service.core.app_state import AppState
from service.core.cases.withholding import WEIGHT_KINDS, check_not_withheld
from service.errors import NotFound
from service.store import orm

router = APIRouter(prefix="/v1/edits/{edit_id}", tags=["artifacts"])

Format = Literal["json", "html", "pdf"]
FileName = Annotated[str, Path(description="Path inside the bundle.", examples=["text_encoder/model.safetensors"])]
ATTESTATION_FILE = "attestation.intoto.jsonl"
REPORT_FILES: dict[Format, str] = {"json": "report.json", "html": "report.html", "pdf": "report.pdf"}
REPORT_MEDIA_TYPES: dict[str, Format] = {"application/json": "json", "text/html": "html", "application/pdf": "pdf"}
REPORT_CONTENT = {
    "text/html": {"schema": {"type": "string"}, "example": "<!doctype html>\n<title>Audit report</title>\n…\n"},
    "application/pdf": {"schema": {"type": "string", "format": "binary"}, "example": "%PDF-1.7\n…"},
}
ENVELOPE_CONTENT = {
    "application/jsonl": {
        "itemSchema": {"$ref": "#/components/schemas/Envelope"},
        "example": json.dumps(EXAMPLES["Envelope"]) + "\n",
    }
}


@router.get("/artifacts", summary="List the files of an edit")
def list_artifacts(edit_id: EditId, app_state: AppStateDep, caller: ReadsArtifacts) -> Page[Artifact]:
    """Return all published files; the list is empty until the edit has succeeded."""
    return Page[Artifact](data=[serializers.artifact(row) for row in load_edit(app_state, caller, edit_id).artifacts])


@router.head("/artifacts/{name:path}", include_in_schema=False)
@router.get(
    "/artifacts/{name:path}",
    summary="Download a file",
    response_class=Response,
    responses=download_responses(ANY_CONTENT, redirected=True),
)
async def read_artifact(
    edit_id: EditId,
    name: FileName,
    request: Request,
    app_state: AppStateDep,
    batched_calls: BatchedCallsDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return the bytes, or 307 to a presigned bucket URL. Supports `Range`; the ETag is the SHA-256 digest."""
    job = await batched_calls.get_job(EditKey(caller.tenant, edit_id))
    return await run_in_threadpool(artifact_response, app_state, job, name, request)


@router.head("/report", include_in_schema=False)
@router.get(
    "/report", summary="Read the audit report", response_model=AuditReport, responses=download_responses(REPORT_CONTENT)
)
def read_report(
    edit_id: EditId,
    request: Request,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
    format: Annotated[Format | None, Query(description="Overrides the Accept header.")] = None,
) -> Response:
    """Return the report as JSON, HTML or PDF, chosen by `?format=` or else by the Accept header."""
    chosen = format or _negotiate_format(request.headers.get("accept", ""))
    response = direct_response(app_state, load_edit(app_state, caller, edit_id), REPORT_FILES[chosen], request)
    response.headers["Vary"] = "Accept"
    return response


@router.head("/report.{format}", include_in_schema=False)
@router.get(
    "/report.{format}",
    summary="Read the audit report as JSON, HTML or PDF",
    response_model=AuditReport,
    responses=download_responses(REPORT_CONTENT),
)
def read_report_as(
    edit_id: EditId,
    format: Annotated[Format, Path(description="Format of the report.")],
    request: Request,
    app_state: AppStateDep,
    caller: ReadsArtifacts,
) -> Response:
    """Return the report in the format of the path."""
    return direct_response(app_state, load_edit(app_state, caller, edit_id), REPORT_FILES[format], request)


@router.head("/attestations", include_in_schema=False)
@router.get(
    "/attestations",
    summary="Read the signed attestations",
    response_class=Response,
    responses=download_responses(ENVELOPE_CONTENT),
)
def read_attestations(edit_id: EditId, request: Request, app_state: AppStateDep, caller: ReadsArtifacts) -> Response:
    """Return DSSE envelopes of in-toto statements, one a line. `expunge verify` checks them."""
    return direct_response(app_state, load_edit(app_state, caller, edit_id), ATTESTATION_FILE, request)


def artifact_response(app_state: AppState, job: orm.Job, name: str, request: Request) -> Response:
    """Return the response for a file of a job, or a redirect to its presigned URL. Raises `NotFound`, `ModelWithheld`."""
    artifact = _find_artifact(app_state, job, name)
    stored_whole = None if artifact.overlay else artifact.sha256
    return presigned_redirect(app_state, stored_whole, request) or direct_response(app_state, job, name, request)


def direct_response(app_state: AppState, job: orm.Job, name: str, request: Request) -> Response:
    """Return the response for a file of a job. Reports are never redirected: a bucket has neither their media types nor their
    security headers. Raises `NotFound`, `ModelWithheld`."""
    artifact = _find_artifact(app_state, job, name)
    return file_response(artifact_reader(app_state, job, artifact), artifact, request)


def _find_artifact(app_state: AppState, job: orm.Job, name: str) -> orm.Artifact:
    """Return a file of a job. Raises `NotFound`, and `ModelWithheld` for weights of a model that a case withholds."""
    for row in job.artifacts:
        if row.name == name:
            if row.kind in WEIGHT_KINDS:
                check_not_withheld(app_state, job.tenant, job.model)
            return row
    raise NotFound(
        f'"{job.id}" has no file "{name}"; its status is {job.status}.',
        remedy=f"GET {serializers.job_url(job.id)}/artifacts lists its files, once it has succeeded.",
    )


def _negotiate_format(accept: str) -> Format:
    """Return the format with the highest weight in the Accept header, of equal ones the first (RFC 9110, 12.5.1); else JSON."""
    weights: dict[Format, float] = {}
    for item in accept.lower().split(","):
        media_type, _, parameters = item.partition(";")
        if chosen := REPORT_MEDIA_TYPES.get(media_type.strip()):
            weight = _WEIGHT.search(parameters)
            weights[chosen] = float(weight[1]) if weight else 1.0
    best = max(weights, key=lambda format: weights[format], default=None)
    return best if best and weights[best] else "json"


_WEIGHT = re.compile(r"\bq\s*=\s*([01](?:\.[0-9]{0,3})?)")
"""The weight of a media type in the Accept header."""
