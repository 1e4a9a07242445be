"""Decide takedown cases: propose, approve, undo, in bulk; counter-notices, complaints, restoration and the end of a case."""

from typing import Annotated

from fastapi import APIRouter, Path

from api_schemas.cases import BulkDecision, Case, CaseDecision
from api_schemas.cases_requests import (
    BulkDecisionRequest,
    CloseRequest,
    ComplaintRequest,
    CounterNoticeRequest,
    DecisionRequest,
    ExtendRequest,
    HoldRequest,
    ResolutionRequest,
    RestoreRequest,
    VersionedRequest,
)
from api_schemas.jobs import Page
from service.api.auth import ReadsCases, ReviewsCases, WritesCases
from service.api.dependencies import AppStateDep
from service.api.routes.cases import CaseId
from service.api.strict_json import StrictJsonRoute
from service.core.cases import bulk, closing, contests, decisions, reading, serializers
from service.store import cases as store

router = APIRouter(prefix="/v1", tags=["case_decisions"], route_class=StrictJsonRoute)

DeadlineId = Annotated[str, Path(description="The id of a deadline that the case lists.")]


@router.post("/cases:decide", summary="Decide many cases")
def decide_all(body: BulkDecisionRequest, app_state: AppStateDep, caller: WritesCases) -> BulkDecision:
    """Preview one decision for up to a thousand cases. Repeat the request with the preview's `count` to make it."""
    return bulk.decide_all(app_state, caller, body)


@router.get("/cases/{case_id}/decisions", summary="List the decisions of a case")
def list_decisions(case_id: CaseId, app_state: AppStateDep, caller: ReadsCases) -> Page[CaseDecision]:
    """Return the decisions that took effect, oldest first. The last one applies."""
    reading.read(app_state, caller, case_id)
    with app_state.database.read() as session:
        return Page[CaseDecision](data=[serializers.decision(row) for row in store.decisions(session, case_id)])


@router.post("/cases/{case_id}/decisions", status_code=202, summary="Decide a case")
def decide(case_id: CaseId, body: DecisionRequest, app_state: AppStateDep, caller: WritesCases) -> Case:
    """Propose a decision. It can be undone for half a minute, or as long as the server sets, and then takes effect.

    If a basis asks for a second person, that time begins with the approval. A decision that took effect never changes: decide
    again to supersede it.
    """
    decisions.decide(app_state, caller, case_id, body)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/approve", summary="Approve a decision")
def approve(case_id: CaseId, body: VersionedRequest, app_state: AppStateDep, caller: ReviewsCases) -> Case:
    """Agree to the decision that somebody else has proposed."""
    decisions.approve(app_state, caller, case_id, body.version)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/undo", summary="Undo a decision")
def undo(case_id: CaseId, body: VersionedRequest, app_state: AppStateDep, caller: WritesCases) -> Case:
    """Take back a decision that has not taken effect."""
    decisions.undo(app_state, caller, case_id, body.version)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/counter_notices", status_code=201, summary="Add a counter-notice")
def add_counter_notice(
    case_id: CaseId, body: CounterNoticeRequest, app_state: AppStateDep, caller: WritesCases
) -> Case:
    """Store the counter-notice and start its clocks. The targets are restored by themselves when the earlier one ends."""
    contests.add_counter_notice(app_state, caller, case_id, body)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/complaints", status_code=201, summary="Add a complaint")
def add_complaint(case_id: CaseId, body: ComplaintRequest, app_state: AppStateDep, caller: WritesCases) -> Case:
    """Store a complaint about a decision or a refusal, within the complaint window. A person must resolve it."""
    contests.add_complaint(app_state, caller, case_id, body)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/hold", summary="Hold a restoration")
def hold(case_id: CaseId, body: HoldRequest, app_state: AppStateDep, caller: WritesCases) -> Case:
    """Keep a contested case from being restored, because a court action was shown; or end the hold."""
    contests.hold(app_state, caller, case_id, body)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/resolve", summary="Resolve a contested case")
def resolve(case_id: CaseId, body: ResolutionRequest, app_state: AppStateDep, caller: ReviewsCases) -> Case:
    """Uphold what contests the case, which restores its targets or opens a refused case again; or let the decision stand."""
    contests.resolve(app_state, caller, case_id, body)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/restore", summary="Restore the targets")
def restore(case_id: CaseId, body: RestoreRequest, app_state: AppStateDep, caller: ReviewsCases) -> Case:
    """Revoke the edit of each target, and serve withheld models again. Never before the time that a counter-notice sets, unless
    it is overridden with a reason, which needs the scope `cases:operate`."""
    contests.restore(app_state, caller, case_id, body)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/close", summary="End a case")
def close(case_id: CaseId, body: CloseRequest, app_state: AppStateDep, caller: WritesCases) -> Case:
    """Close the case when its windows are over; or end it as withdrawn, void or merged before anything was done."""
    closing.close(app_state, caller, case_id, body)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/deadlines/{deadline_id}/extend", summary="Extend a deadline")
def extend(
    case_id: CaseId, deadline_id: DeadlineId, body: ExtendRequest, app_state: AppStateDep, caller: ReviewsCases
) -> Case:
    """Move a running deadline to a later time, with a reason, which is kept."""
    closing.extend(app_state, caller, case_id, deadline_id, body)
    return reading.read(app_state, caller, case_id)
