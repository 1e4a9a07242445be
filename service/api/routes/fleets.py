"""Fleets: one decision for many base models."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from sqlalchemy.orm import Session

from api_schemas.edits import ModelName
from api_schemas.fleets import Fleet, FleetPlan, FleetRequest, FleetTarget
from api_schemas.jobs import Page
from service.api.auth import ReadsArtifacts, ReadsEdits, WritesEdits
from service.api.dependencies import AppStateDep
from service.api.file_response import download_responses
from service.api.job_replies import IdempotencyKey, accepted_response, idempotency_scope
from service.api.paging import LongPageLimit, PageLimit
from service.api.routes.artifacts import ENVELOPE_CONTENT, artifact_response
from service.api.strict_json import StrictJsonRoute
from service.core import edits, serializers
from service.core import fleets as core
from service.core.caller import Caller
from service.core.fleets import PendingFleet
from service.errors import NotFound, found
from service.store import audit, fleets, orm
from service.store.ids import FLEET_ID

router = APIRouter(prefix="/v1", tags=["fleets"], route_class=StrictJsonRoute)

FleetId = Annotated[str, Path(description="The id that `POST /v1/fleets` returned.")]


@router.post("/fleets", status_code=edits.ACCEPTED, response_model=Fleet, summary="Remove concepts from many models")
def create(
    body: FleetRequest,
    app_state: AppStateDep,
    caller: WritesEdits,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Freeze the selected models, and remove the concepts from each ledger.

    Models with equal text encoders, profiles and active removals form a group: the removal is solved and judged for one of
    them, and its delta is carried over to the others. In the end one statement over all edits is signed.
    """
    scope = idempotency_scope(app_state, caller, "POST /v1/fleets", idempotency_key)
    submission = PendingFleet(caller, scope, body).submit(app_state)
    fleet = Fleet.model_validate_json(submission.reply.body)
    return accepted_response(submission, fleet.urls.self)


@router.post("/fleets:plan", summary="Show what a fleet would do")
def plan(body: FleetRequest, app_state: AppStateDep, caller: WritesEdits) -> FleetPlan:
    """Return the models that are selected now, and their groups. Nothing is queued."""
    return core.plan(app_state, caller, body)


@router.get("/fleets", summary="List fleets, newest first")
def list_fleets(
    app_state: AppStateDep,
    caller: ReadsEdits,
    limit: PageLimit = 20,
    after: Annotated[str | None, Query(pattern=FLEET_ID, description="`next_cursor` of the previous page.")] = None,
) -> Page[Fleet]:
    """Return a page of fleets."""
    with app_state.database.read() as session:
        rows = fleets.list_recent(session, caller.tenant, after=after, limit=limit + 1)
        data = [core.resource(session, row) for row in rows]
    return serializers.page(data, limit, lambda fleet: fleet.id)


@router.get("/fleets/{fleet_id}", summary="Read a fleet")
def read(fleet_id: FleetId, app_state: AppStateDep, caller: ReadsEdits) -> Fleet:
    """Return the numbers of targets by state."""
    with app_state.database.read() as session:
        return core.resource(session, _load(session, caller, fleet_id))


@router.get("/fleets/{fleet_id}/targets", summary="List the targets of a fleet")
def list_targets(
    fleet_id: FleetId,
    app_state: AppStateDep,
    caller: ReadsEdits,
    limit: LongPageLimit = 100,
    after: Annotated[ModelName | None, Query(description="`next_cursor` of the previous page.")] = None,
) -> Page[FleetTarget]:
    """Return a page of targets, by model: state, edit, revision and how it got its weights."""
    with app_state.database.read() as session:
        rows = fleets.targets(session, _load(session, caller, fleet_id).id)
        rows = [row for row in rows if after is None or row.model > after][: limit + 1]
        data = core.targets(session, caller.tenant, rows)
    return serializers.page(data, limit, lambda target: target.model)


@router.post("/fleets/{fleet_id}/cancel", summary="Cancel a fleet")
def cancel(fleet_id: FleetId, app_state: AppStateDep, caller: WritesEdits) -> Fleet:
    """Cancel the edits that have not ended, and follow no more models. Removals that are in force stay until revoked."""
    now = app_state.clock()
    with app_state.database.write() as session:
        fleet = _load(session, caller, fleet_id)
        if fleet.finished_at is None or fleet.follows:
            fleets.cancel(session, fleet, now=now)
            audit.record(session, caller.tenant, caller.key_id, "fleet.cancel", fleet_id, now=now)
        session.flush()
        return core.resource(session, fleet)


@router.head("/fleets/{fleet_id}/statement", include_in_schema=False)
@router.get(
    "/fleets/{fleet_id}/statement",
    summary="Read the signed statement of a fleet",
    response_class=Response,
    responses=download_responses(ENVELOPE_CONTENT),
)
def read_statement(fleet_id: FleetId, request: Request, app_state: AppStateDep, caller: ReadsArtifacts) -> Response:
    """Return the DSSE envelope of an in-toto statement over the manifests of all edits; plain JSON without a signing key."""
    with app_state.database.read() as session:
        fleet = _load(session, caller, fleet_id)
        job = session.get(orm.Job, fleet.statement_job_id) if fleet.statement_job_id else None
    if job is None or not job.artifacts:
        raise NotFound(
            f'The fleet "{fleet_id}" has no statement yet.', remedy="It is signed when all targets have ended."
        )
    return artifact_response(app_state, job, job.artifacts[0].name, request)


def _load(session: Session, caller: Caller, fleet_id: str) -> orm.Fleet:
    return found(fleets.get(session, caller.tenant, fleet_id), "fleet", fleet_id, "/v1/fleets")
