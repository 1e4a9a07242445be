"""Trying a request out."""

from fastapi import APIRouter

from api_schemas.edits import EditRequest
from api_schemas.plans import Plan
from service.api.auth import WritesEdits
from service.core import dry_runs
from service.core.app_state import BackendDep

router = APIRouter(prefix="/v1", tags=["edits"])


@router.post("/edits:validate", summary="Try a request out")
async def validate(body: EditRequest, backend: BackendDep, caller: WritesEdits) -> Plan:
    """What it would cover, run into, cost and hurt, as a worker sees it. Nothing is edited.

    Refused as `POST /v1/edits` would refuse it, and as the job itself would fail.
    """
    return await dry_runs.plan(backend, body, caller)
