"""Create, list, read and claim takedown cases."""

import json
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api_schemas.cases import Case, CaseEvent, CaseState, PersonalData
from api_schemas.cases_bases import CaseBasis, ReasonTemplate
from api_schemas.cases_requests import CaseRequest, CaseUpdate, ClaimRequest, NameSearch, NoticeUpdate, VersionedRequest
from api_schemas.jobs import Page
from service.api.auth import OperatesCases, ReadsCases, ReadsPersonalData, WritesCases
from service.api.dependencies import AppStateDep
from service.api.job_replies import IdempotencyKey, idempotency_scope, json_response
from service.api.paging import LongPageLimit, PageLimit
from service.api.strict_json import StrictJsonRoute
from service.core import serializers as pages
from service.core.cases import closing, intake, queue, reading, serializers
from service.core.cases.bases import load_rules
from service.core.cases.intake import CREATED
from service.store import cases as store
from service.store.cases import CaseFilter
from service.store.ids import CASE_ID
from service.store.orm import MAX_INTEGER

router = APIRouter(prefix="/v1", tags=["cases"], route_class=StrictJsonRoute)

CaseId = Annotated[str, Path(description="The id that `POST /v1/cases` returned.")]
NO_STORE = {"Cache-Control": "no-store"}


@router.get("/bases", summary="List the bases of cases")
def list_bases(app_state: AppStateDep, caller: ReadsCases) -> Page[CaseBasis]:
    """Return what a notice on each basis must have, and which clocks it starts."""
    return Page[CaseBasis](data=load_rules(app_state.settings.case_bases).basis_resources())


@router.get("/reason_templates", summary="List the reason templates")
def list_templates(app_state: AppStateDep, caller: ReadsCases) -> Page[ReasonTemplate]:
    """Return the texts that give the reason of a decision, with their typed slots."""
    return Page[ReasonTemplate](data=load_rules(app_state.settings.case_bases).template_resources())


@router.post("/cases", status_code=CREATED, response_model=Case, summary="Open a case from a notice")
def create(
    body: CaseRequest, app_state: AppStateDep, caller: WritesCases, idempotency_key: IdempotencyKey = None
) -> Response:
    """Store the notice, sealed, and start the clocks of its bases. An incomplete notice is a case that lists what is missing.

    A repeated request with the same Idempotency-Key returns the same case.
    """
    scope = idempotency_scope(app_state, caller, "POST /v1/cases", idempotency_key)
    new = intake.create(app_state, caller, body, scope)
    case = reading.read(app_state, caller, new.id)
    headers = {"Location": case.urls.self, "Idempotent-Replayed": json.dumps(new.replayed)}
    return json_response(case.model_dump_json(), CREATED, headers)


@router.get("/cases", summary="List cases, due first")
def list_cases(
    app_state: AppStateDep,
    caller: ReadsCases,
    limit: PageLimit = 20,
    after: Annotated[str | None, Query(pattern=CASE_ID, description="`next_cursor` of the previous page.")] = None,
    state: Annotated[list[CaseState] | None, Query(max_length=14, description="Only cases in these states.")] = None,
    basis: Annotated[str | None, Query(max_length=32, description="Only cases on this basis.")] = None,
    model: Annotated[str | None, Query(max_length=100, description="Only cases about this base model.")] = None,
    assignee: Annotated[str | None, Query(max_length=500, description="Only cases of this assignee.")] = None,
    claimed_by: Annotated[
        str | None, Query(max_length=64, description="Only cases that this API key has claimed.")
    ] = None,
    overdue: Annotated[
        bool | None, Query(description="Only cases with a duty that is overdue, or without one.")
    ] = None,
) -> Page[Case]:
    """Return a page of cases, the one that is due first at the top. Names are searched with `POST /v1/cases:search`."""
    chosen = CaseFilter(state, basis, assignee, claimed_by, model, overdue)
    now = app_state.clock()
    with app_state.database.read() as session:
        rows = store.list_due(session, caller.tenant, chosen, now=now, after=after, limit=limit + 1)
        found = [serializers.case(row, now) for row in rows]
    return pages.page(found, limit, lambda case: case.id)


@router.post("/cases:search", summary="Find cases by a name in their notice")
def search(body: NameSearch, app_state: AppStateDep, caller: ReadsPersonalData) -> Page[Case]:
    """Return the cases whose notice has exactly this concept, alias, or name or e-mail address of the notifier."""
    return Page[Case](data=reading.search(app_state, caller, body.name))


@router.post(
    "/cases:next",
    response_model=Case,
    summary="Claim the next case",
    responses={204: {"description": "No case waits for a person."}},
)
def claim_next(app_state: AppStateDep, caller: WritesCases) -> Response:
    """Claim the case that is due first among those that wait for a person and that nobody has claimed."""
    case_id = queue.claim_next(app_state, caller)
    if case_id is None:
        return Response(status_code=204)
    return json_response(reading.read(app_state, caller, case_id).model_dump_json(), 200)


@router.get("/cases/{case_id}", summary="Read a case")
def read(case_id: CaseId, app_state: AppStateDep, caller: ReadsCases) -> Case:
    """Return the case without its personal data."""
    return reading.read(app_state, caller, case_id)


@router.patch("/cases/{case_id}", summary="Change priority, assignee or territories")
def update(case_id: CaseId, body: CaseUpdate, app_state: AppStateDep, caller: WritesCases) -> Case:
    """Change the fields that are sent."""
    intake.update(app_state, caller, case_id, body)
    return reading.read(app_state, caller, case_id)


@router.put("/cases/{case_id}/notice", summary="Replace the notice")
def replace_notice(case_id: CaseId, body: NoticeUpdate, app_state: AppStateDep, caller: WritesCases) -> Case:
    """Replace the notice, for example with one that has what was missing. A complete notice opens the case."""
    intake.replace_notice(app_state, caller, case_id, body)
    return reading.read(app_state, caller, case_id)


@router.get("/cases/{case_id}/personal_data", response_model=PersonalData, summary="Read the sealed text")
def read_personal_data(case_id: CaseId, app_state: AppStateDep, caller: ReadsPersonalData) -> Response:
    """Return the notice, the facts of decisions, counter-notices and complaints. The reading is an event of the case."""
    found = reading.read_personal_data(app_state, caller, case_id)
    return json_response(found.model_dump_json(), 200, NO_STORE)


@router.get("/cases/{case_id}/events", summary="List the history of a case")
def list_events(
    case_id: CaseId,
    app_state: AppStateDep,
    caller: ReadsCases,
    limit: LongPageLimit = 100,
    after: Annotated[int, Query(ge=0, le=MAX_INTEGER, description="Return events after this `seq`.")] = 0,
) -> Page[CaseEvent]:
    """Return a page of events, oldest first."""
    reading.read(app_state, caller, case_id)
    with app_state.database.read() as session:
        rows = store.events(session, case_id, after=after, limit=limit + 1)
    return pages.page([serializers.event(row) for row in rows], limit, lambda event: event.seq)


@router.post("/cases/{case_id}/claim", summary="Claim a case")
def claim(case_id: CaseId, body: ClaimRequest, app_state: AppStateDep, caller: WritesCases) -> Case:
    """Claim the case for a quarter of an hour, or as long as the server sets. Each change that you make renews the claim."""
    queue.claim(app_state, caller, case_id, takeover=body.takeover)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/release", summary="Give up a claim")
def release(case_id: CaseId, app_state: AppStateDep, caller: WritesCases) -> Case:
    """Let others claim the case."""
    queue.release(app_state, caller, case_id)
    return reading.read(app_state, caller, case_id)


@router.post("/cases/{case_id}/erase", summary="Erase the personal data")
def erase(case_id: CaseId, body: VersionedRequest, app_state: AppStateDep, caller: OperatesCases) -> Case:
    """Destroy the key of the personal data of a case that has ended. Its history and the audit log stay whole."""
    closing.erase(app_state, caller, case_id, body.version)
    return reading.read(app_state, caller, case_id)
