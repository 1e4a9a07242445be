"""Dry runs of a request."""

from fastapi import APIRouter, Request

from api_schemas.edits import EditRequest
from api_schemas.plans import Plan
from service.api.auth import WritesEdits
from service.api.dependencies import AppStateDep
from service.api.strict_json import StrictJsonRoute
from service.core import dry_runs

router = APIRouter(prefix="/v1", tags=["edits"], route_class=StrictJsonRoute)


@router.post("/edits:validate", summary="Dry-run a request")
async def validate(body: EditRequest, request: Request, app_state: AppStateDep, caller: WritesEdits) -> Plan:
    """A worker reports which prompts the request would cover, its conflicts, its cost and its side effects. Nothing is edited.

    Fails with the errors of `POST /v1/edits`, and with those that the job itself would have.
    """
    return await dry_runs.run_dry_run(app_state, body, caller, request.is_disconnected)
