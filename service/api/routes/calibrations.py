"""Calibrate a base model, and follow and cancel the job."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from starlette.responses import StreamingResponse

from api_schemas.calibrations import Calibration, CalibrationRequest, CalibrationTask
from api_schemas.events import Event
from api_schemas.jobs import Artifact, Page
from service.api.auth import ReadsModels, WritesModels
from service.api.dependencies import AppStateDep, BatchedCallsDep
from service.api.event_stream import STREAM_RESPONSES, StreamCursor, stream_response
from service.api.file_response import ANY_CONTENT, download_responses
from service.api.job_replies import IdempotencyKey, accepted_response, cancel_job, idempotency_scope
from service.api.paging import LongPageLimit, PageLimit
from service.api.routes.artifacts import FileName, artifact_response
from service.api.routes.events import After, LastEventId, events_page
from service.api.routes.models import ModelId, get_model
from service.api.strict_json import StrictJsonRoute
from service.core import edits, serializers
from service.core.app_state import AppState
from service.core.calibrations import PendingCalibration
from service.core.caller import Caller
from service.errors import found
from service.store import jobs
from service.store.ids import CALIBRATION_ID
from service.store.orm import Job

router = APIRouter(prefix="/v1", tags=["calibrations"], route_class=StrictJsonRoute)

CalibrationId = Annotated[str, Path(description="The id that `POST /v1/models/{model_id}/calibrate` returned.")]


@router.post(
    "/models/{model_id}/calibrate",
    status_code=edits.ACCEPTED,
    response_model=Calibration,
    summary="Calibrate a base model",
)
def create(
    model_id: ModelId,
    body: CalibrationRequest,
    app_state: AppStateDep,
    caller: WritesModels,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Queue a job that trains autoencoders, probes and Diff-C classifiers on images of the base model.

    Edits with `features` then score features inside the model. A later calibration of the same weights replaces this one.
    """
    get_model(app_state, model_id)
    scope = idempotency_scope(app_state, caller, f"POST /v1/models/{model_id}/calibrate", idempotency_key)
    task = CalibrationTask(model=model_id, **body.model_dump())
    submission = edits.submit(app_state, PendingCalibration(caller, scope, task))
    job_id = Calibration.model_validate_json(submission.reply.body).id
    return accepted_response(submission, f"/v1/calibrations/{job_id}")


@router.get("/calibrations", summary="List calibrations, newest first")
def list_calibrations(
    app_state: AppStateDep,
    caller: ReadsModels,
    limit: PageLimit = 20,
    after: Annotated[
        str | None, Query(pattern=CALIBRATION_ID, description="`next_cursor` of the previous page.")
    ] = None,
    model: Annotated[str | None, Query(max_length=100, description="Only calibrations of this base model.")] = None,
) -> Page[Calibration]:
    """Return a page of calibrations."""
    with app_state.database.read() as session:
        rows = jobs.list_calibrations(session, caller.tenant, model=model, limit=limit + 1, after=after)
    return serializers.page([serializers.calibration(job) for job in rows], limit, lambda one: one.id)


@router.get("/calibrations/{calibration_id}", summary="Read a calibration")
def read(calibration_id: CalibrationId, app_state: AppStateDep, caller: ReadsModels) -> Calibration:
    """Return the current state of the job. `calibration` of the model has the result."""
    return serializers.calibration(load_calibration(app_state, caller, calibration_id))


@router.post(
    "/calibrations/{calibration_id}/cancel",
    response_model=Calibration,
    summary="Cancel a calibration",
    responses={202: {"model": Calibration}},
)
def cancel(calibration_id: CalibrationId, app_state: AppStateDep, caller: WritesModels) -> Response:
    """Return 202 if the job is about to stop, or 200 if it has ended, now or earlier."""
    load = partial(load_calibration, app_state, caller, calibration_id)
    return cancel_job(app_state, caller, "calibration.cancel", load, serializers.calibration)


@router.get("/calibrations/{calibration_id}/events", summary="List the events of a calibration")
def list_events(
    calibration_id: CalibrationId,
    app_state: AppStateDep,
    caller: ReadsModels,
    after: After = 0,
    limit: LongPageLimit = 100,
) -> Page[Event]:
    """Return a page of events, oldest first."""
    return events_page(app_state, load_calibration(app_state, caller, calibration_id), after, limit)


@router.get(
    "/calibrations/{calibration_id}/stream",
    summary="Stream the events of a calibration",
    response_class=StreamingResponse,
    responses=STREAM_RESPONSES,
)
async def stream(
    calibration_id: CalibrationId,
    app_state: AppStateDep,
    batched_calls: BatchedCallsDep,
    caller: ReadsModels,
    after: After = 0,
    last_event_id: LastEventId = None,
) -> Response:
    """Send server-sent events, as `GET /v1/edits/{edit_id}/stream` does."""
    found(calibration_id.startswith("cal_") or None, "calibration", calibration_id, "/v1/calibrations")
    start = after if last_event_id is None else last_event_id
    return await stream_response(
        app_state, batched_calls.poll_events, StreamCursor(caller.tenant, calibration_id, start)
    )


@router.get("/calibrations/{calibration_id}/artifacts", summary="List the files of a calibration")
def list_artifacts(calibration_id: CalibrationId, app_state: AppStateDep, caller: ReadsModels) -> Page[Artifact]:
    """Return the published autoencoders, probes, classifiers and the card; the list is empty until the job has succeeded."""
    job = load_calibration(app_state, caller, calibration_id)
    return Page[Artifact](data=[serializers.artifact(row) for row in job.artifacts])


@router.head("/calibrations/{calibration_id}/artifacts/{name:path}", include_in_schema=False)
@router.get(
    "/calibrations/{calibration_id}/artifacts/{name:path}",
    summary="Download a file of a calibration",
    response_class=Response,
    responses=download_responses(ANY_CONTENT, redirected=True),
)
def read_artifact(
    calibration_id: CalibrationId, name: FileName, request: Request, app_state: AppStateDep, caller: ReadsModels
) -> Response:
    """Return the bytes, or 307 to a presigned bucket URL. Supports `Range`; the ETag is the SHA-256 digest."""
    return artifact_response(app_state, load_calibration(app_state, caller, calibration_id), name, request)


def load_calibration(app_state: AppState, caller: Caller, calibration_id: str) -> Job:
    """Return the caller's calibration. Raises `NotFound`."""
    with app_state.database.read() as session:
        job = jobs.get_calibration(session, caller.tenant, calibration_id)
    return found(job, "calibration", calibration_id, "/v1/calibrations")
