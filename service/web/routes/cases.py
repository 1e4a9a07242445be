"""The queue of takedown cases. The URL is the filter; the case that is due first is at the top."""

from datetime import datetime
from typing import Annotated, Any, cast
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from api_schemas.cases import CASE_STATES, CaseState
from api_schemas.cases_requests import BulkDecisionRequest, CaseRequest, Notice
from service.api.auth import ReadsCases, WritesCases
from service.api.dependencies import AppStateDep
from service.api.routes import cases as api
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import bulk, intake, queue
from service.core.cases.bases import load_rules
from service.errors import ServiceError
from service.store import cases as store
from service.store.ids import CASE_ID
from service.web import case_views
from service.web.case_views import SOURCES, due_badge, state_badge
from service.web.forms import FormDep, FormFields, parse
from service.web.removal_form import KIND_LABELS
from service.web.rendering import render

router = APIRouter(prefix="/cases")

PAGE_SIZE = 25
PAPER = "as received"
"""Version of the wording of declarations that were not made in a form of ours."""
ALL_OPEN: list[CaseState] = [state for state in CASE_STATES if state not in ("closed", "withdrawn", "void", "merged")]


@router.get("")
def list_cases(
    request: Request,
    app_state: AppStateDep,
    caller: ReadsCases,
    state: Annotated[str, Query(pattern="^(|all|" + "|".join(CASE_STATES) + ")$")] = "",
    basis: Annotated[str, Query(max_length=32)] = "",
    model: Annotated[str, Query(max_length=100)] = "",
    mine: Annotated[bool, Query()] = False,
    overdue: Annotated[bool, Query()] = False,
    after: Annotated[str | None, Query(pattern=CASE_ID)] = None,
    none: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    """Show a page of cases. Without a filter these are the cases that have not ended."""
    filters = {"state": state, "basis": basis, "model": model, "mine": mine, "overdue": overdue}
    page = api.list_cases(
        app_state,
        caller,
        PAGE_SIZE,
        after,
        None if state == "all" else [cast(CaseState, state)] if state else ALL_OPEN,
        basis or None,
        model or None,
        claimed_by=caller.key_id if mine else None,
        overdue=True if overdue else None,
    )
    later = [*((name, value) for name, value in filters.items() if value), ("after", page.next_cursor)]
    return render(
        request,
        "cases/queue.html",
        cases=page.data,
        filters=filters,
        states=CASE_STATES,
        rules=load_rules(app_state.settings.case_bases),
        is_filtered=any(filters.values()) or after is not None,
        later_url=f"/cases?{urlencode(later)}" if page.has_more else None,
        may_write="cases:write" in caller.scopes,
        nothing_waits=none == "next",
        now=app_state.clock(),
        due_badge=due_badge,
        state_badge=state_badge,
    )


@router.post("/next")
def claim_next(request: Request, app_state: AppStateDep, caller: WritesCases) -> Response:
    """Claim the case that is due first, and go to it."""
    case_id = queue.claim_next(app_state, caller)
    return RedirectResponse(f"/cases/{case_id}" if case_id else "/cases?none=next", 303)


@router.get("/new")
def show_new(request: Request, app_state: AppStateDep, caller: WritesCases) -> Response:
    """Show the form of a notice."""
    return _new_page(request, app_state, FormFields({}))


@router.post("/new")
def create(request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep) -> Response:
    """Open a case from the form."""
    try:
        new = intake.create(app_state, caller, parse(CaseRequest, case_values(form, app_state.clock())))
    except ServiceError as error:
        return _new_page(request, app_state, form, error)
    return RedirectResponse(f"/cases/{new.id}", 303)


def _new_page(request: Request, app_state: AppState, form: FormFields, error: ServiceError | None = None) -> Response:
    return render(
        request,
        "cases/new.html",
        status=error.status if error else 200,
        rules=load_rules(app_state.settings.case_bases),
        models=[model.id for model in app_state.registry.all()],
        form=form,
        error=error,
        sources=SOURCES,
        kinds=KIND_LABELS,
    )


def case_values(form: FormFields, now: datetime) -> dict[str, Any]:
    """Return the body of a case request."""
    return {
        "bases": form.all("basis"),
        "models": form.all("model"),
        "source": form.text("source") or "art16",
        "priority": form.text("priority") or "normal",
        "territories": form.text("territories").upper().replace(",", " ").split(),
        "received_at": f"{received}:00Z" if (received := form.text("received_at")) else None,
        "notice": notice_values(form, now),
    }


def notice_values(form: FormFields, now: datetime) -> dict[str, Any]:
    """Return a notice. Unless the form says otherwise, declarations were made when the notice was received."""
    at = form.text("declared_at") or form.text("received_at")
    made_at = f"{at}:00Z" if at else now.isoformat()
    statements = [{"kind": kind, "text_version": PAPER, "at": made_at} for kind in form.all("statement")]
    contact = {name: form.optional(f"notifier_{name}") for name in ("name", "email", "address", "phone")}
    return {
        "notifier": contact,
        "role": form.text("role") or "self",
        "signature": form.optional("signature"),
        "statements": statements,
        "allegation": form.optional("allegation"),
        "concept": form.optional("concept"),
        "kind": form.text("kind") or "object",
        "aliases": form.lines("aliases"),
        "locations": form.lines("locations"),
        "files": form.lines("files"),
    }


def notice_form(notice: Notice) -> FormFields:
    """Return the fields of a form that has a notice."""
    several = {name: ["\n".join(getattr(notice, name))] for name in ("aliases", "locations", "files")}
    single = {name: [getattr(notice, name) or ""] for name in ("role", "signature", "allegation", "concept", "kind")}
    contact = {f"notifier_{name}": [value or ""] for name, value in notice.notifier.model_dump().items()}
    declared = [f"{one.at:%Y-%m-%dT%H:%M}" for one in notice.statements[:1]]
    return FormFields(
        several
        | single
        | contact
        | {"statement": [one.kind for one in notice.statements], "declared_at": declared or [""]}
    )


@router.post("/bulk")
def decide_all(request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep) -> Response:
    """Preview a decision about the selected cases, or make it if the number of cases is confirmed."""
    error, outcome = None, None
    try:
        if form.text("template"):
            outcome = bulk.decide_all(app_state, caller, parse(BulkDecisionRequest, _bulk_values(form)))
    except ServiceError as raised:
        error = raised
    if outcome and not outcome.preview:
        return RedirectResponse("/cases", 303)
    rules = load_rules(app_state.settings.case_bases)
    chosen = form.text("template")
    return render(
        request,
        "cases/bulk.html",
        status=error.status if error else 200,
        selected=_selected(app_state, caller, form),
        rules=rules,
        chosen=rules.templates.get(chosen),
        form=form,
        outcome=outcome,
        error=error,
        views=case_views,
    )


def _bulk_values(form: FormFields) -> dict[str, Any]:
    count = form.text("count")
    return {
        "cases": [{"case": case, "version": int(version or 0)} for case, _, version in map(_split, form.all("case"))],
        "decision": decision_values(form),
        "count": form.number("count") if count else None,
    }


def _split(value: str) -> tuple[str, str, str]:
    return value.partition(":")


def _selected(app_state: AppState, caller: Caller, form: FormFields) -> list[tuple[str, str]]:
    """Return value and reference of each selected case of the tenant."""
    with app_state.database.read() as session:
        rows = [(value, store.get(session, caller.tenant, _split(value)[0])) for value in form.all("case")[:1000]]
    return [(value, row.reference) for value, row in rows if row]


def decision_values(form: FormFields) -> dict[str, Any]:
    """Return the body of a decision."""
    return {
        "action": form.text("action"),
        "ground": form.text("ground"),
        "template": form.text("template"),
        "slots": form.group("slot_"),
        "facts": form.optional("facts"),
        "models": form.all("model"),
    }
