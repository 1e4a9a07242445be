"""The page of a case: what is known, what is due, what was decided, and what can be done."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import RedirectResponse

from api_schemas.cases_requests import (
    CloseRequest,
    ComplaintRequest,
    CounterNoticeRequest,
    DecisionRequest,
    ExtendRequest,
    HoldRequest,
    NoticeUpdate,
    ResolutionRequest,
    RestoreRequest,
)
from service.api.auth import OperatesCases, ReadsCases, ReadsPersonalData, ReviewsCases, WritesCases
from service.api.dependencies import AppStateDep
from service.api.routes import case_statements
from service.api.routes.case_statements import find_statement
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import closing, contests, decisions, intake, queue, reading, serializers
from service.core.cases.bases import load_rules
from service.errors import ServiceError
from service.store import cases as store
from service.web import case_views
from service.web.forms import FormDep, FormFields, parse
from service.web.removal_form import KIND_LABELS
from service.web.rendering import render
from service.web.routes.cases import decision_values, notice_form, notice_values

router = APIRouter(prefix="/cases/{case_id}")

MAX_EVENTS = 200


@router.get("")
def show(
    case_id: str,
    request: Request,
    app_state: AppStateDep,
    caller: ReadsCases,
    template: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Show a case. `template` chooses the reason of the decision form, without JavaScript."""
    return case_page(request, app_state, caller, case_id, template=template)


def case_page(
    request: Request,
    app_state: AppState,
    caller: Caller,
    case_id: str,
    *,
    template: str = "",
    form: FormFields | None = None,
    error: ServiceError | None = None,
) -> Response:
    """Return the page of a case, with the error of what was tried last. Raises `NotFound`."""
    case, rules = reading.read(app_state, caller, case_id), load_rules(app_state.settings.case_bases)
    with app_state.database.read() as session:
        history = store.events(session, case_id, after=0, limit=MAX_EVENTS)
        decided = [serializers.decision(row) for row in store.decisions(session, case_id)]
        has_statement = store.latest_statement(session, case_id) is not None
    return render(
        request,
        "cases/case.html",
        status=error.status if error else 200,
        case=case,
        bases=[(name, rules.bases[name]) for name in case.bases if name in rules.bases],
        rules=rules,
        template_name=template,
        chosen=rules.templates.get(template),
        history=list(reversed(history)),
        decisions=list(reversed(decided)),
        has_statement=has_statement,
        possible=case_views.possible_actions(case, caller),
        may_read_sealed="personal_data:read" in caller.scopes,
        may_override="cases:operate" in caller.scopes,
        is_mine=case.claim is not None and case.claim.by == caller.key_id,
        may_write="cases:write" in caller.scopes,
        form=form or FormFields({}),
        error=error,
        now=app_state.clock(),
        views=case_views,
    )


def _act(
    request: Request, app_state: AppState, caller: Caller, case_id: str, form: FormFields, action: Callable[[], Any]
) -> Response:
    """Do something with a case and return to its page, or show the page with the reason for the refusal."""
    reading.read(app_state, caller, case_id)
    try:
        action()
    except ServiceError as error:
        return case_page(request, app_state, caller, case_id, template=form.text("template"), form=form, error=error)
    return RedirectResponse(f"/cases/{case_id}", 303)


@router.post("/decide")
def decide(case_id: str, request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep) -> Response:
    """Propose a decision. With `then=next` the next case is loaded."""
    values = decision_values(form) | {"version": form.number("version")}
    reply = _act(
        request,
        app_state,
        caller,
        case_id,
        form,
        lambda: decisions.decide(app_state, caller, case_id, parse(DecisionRequest, values)),
    )
    if reply.status_code == 303 and form.text("then") == "next" and (following := queue.claim_next(app_state, caller)):
        return RedirectResponse(f"/cases/{following}?decided={case_id}", 303)
    return reply


@router.post("/undo")
def undo(case_id: str, request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep) -> Response:
    """Take back a decision."""
    action = partial(decisions.undo, app_state, caller, case_id, form.number("version"))
    return _act(request, app_state, caller, case_id, form, action)


@router.post("/approve")
def approve(case_id: str, request: Request, app_state: AppStateDep, caller: ReviewsCases, form: FormDep) -> Response:
    """Approve a decision."""
    action = partial(decisions.approve, app_state, caller, case_id, form.number("version"))
    return _act(request, app_state, caller, case_id, form, action)


@router.post("/claim")
def claim(case_id: str, request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep) -> Response:
    """Claim a case."""
    action = partial(queue.claim, app_state, caller, case_id, takeover=bool(form.text("takeover")))
    return _act(request, app_state, caller, case_id, form, action)


@router.post("/release")
def release(case_id: str, request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep) -> Response:
    """Give up a claim."""
    return _act(request, app_state, caller, case_id, form, partial(queue.release, app_state, caller, case_id))


@router.get("/notice")
def show_notice(case_id: str, request: Request, app_state: AppStateDep, caller: ReadsPersonalData) -> Response:
    """Show what is sealed in a case. The reading is recorded."""
    sealed, case = reading.read_personal_data(app_state, caller, case_id), reading.read(app_state, caller, case_id)
    may_replace = "notice" in case_views.possible_actions(case, caller)
    form = notice_form(sealed.notice)
    return render(
        request,
        "cases/notice.html",
        case=case,
        sealed=sealed,
        form=form,
        may_replace=may_replace,
        kinds=KIND_LABELS,
        views=case_views,
    )


@router.post("/notice")
def replace_notice(
    case_id: str, request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep
) -> Response:
    """Replace the notice."""
    values = {"version": form.number("version"), "notice": notice_values(form, app_state.clock())}
    return _act(
        request,
        app_state,
        caller,
        case_id,
        form,
        lambda: intake.replace_notice(app_state, caller, case_id, parse(NoticeUpdate, values)),
    )


@router.post("/counter-notice")
def add_counter_notice(
    case_id: str, request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep
) -> Response:
    """Add a counter-notice."""
    values = {
        "version": form.number("version"),
        "respondent": {name: form.optional(f"contact_{name}") for name in ("name", "email")},
        "signature": form.optional("signature"),
        "explanation": form.text("explanation"),
    }
    return _act(
        request,
        app_state,
        caller,
        case_id,
        form,
        lambda: contests.add_counter_notice(app_state, caller, case_id, parse(CounterNoticeRequest, values)),
    )


@router.post("/complaint")
def add_complaint(
    case_id: str, request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep
) -> Response:
    """Add a complaint."""
    contact = {name: form.optional(f"contact_{name}") for name in ("name", "email")}
    values = {"version": form.number("version"), "complainant": contact, "explanation": form.text("explanation")}
    return _act(
        request,
        app_state,
        caller,
        case_id,
        form,
        lambda: contests.add_complaint(app_state, caller, case_id, parse(ComplaintRequest, values)),
    )


@router.post("/hold")
def hold(case_id: str, request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep) -> Response:
    """Hold the restoration, or end the hold."""
    values = {"version": form.number("version"), "held": form.text("held") == "yes", "reason": form.text("reason")}
    return _act(
        request,
        app_state,
        caller,
        case_id,
        form,
        lambda: contests.hold(app_state, caller, case_id, parse(HoldRequest, values)),
    )


@router.post("/resolve")
def resolve(case_id: str, request: Request, app_state: AppStateDep, caller: ReviewsCases, form: FormDep) -> Response:
    """Resolve what contests the case."""
    values = {"version": form.number("version"), "outcome": form.text("outcome"), "reason": form.text("reason")}
    return _act(
        request,
        app_state,
        caller,
        case_id,
        form,
        lambda: contests.resolve(app_state, caller, case_id, parse(ResolutionRequest, values)),
    )


@router.post("/restore")
def restore(case_id: str, request: Request, app_state: AppStateDep, caller: ReviewsCases, form: FormDep) -> Response:
    """Restore the targets."""
    values = {
        "version": form.number("version"),
        "reason": form.text("reason"),
        "override": form.text("override") == "yes",
    }
    return _act(
        request,
        app_state,
        caller,
        case_id,
        form,
        lambda: contests.restore(app_state, caller, case_id, parse(RestoreRequest, values)),
    )


@router.post("/close")
def close(case_id: str, request: Request, app_state: AppStateDep, caller: WritesCases, form: FormDep) -> Response:
    """End the case."""
    values = {
        "version": form.number("version"),
        "outcome": form.text("outcome"),
        "reason": form.optional("reason"),
        "duplicate_of": form.optional("duplicate_of"),
    }
    return _act(
        request,
        app_state,
        caller,
        case_id,
        form,
        lambda: closing.close(app_state, caller, case_id, parse(CloseRequest, values)),
    )


@router.post("/deadlines/{deadline_id}/extend")
def extend(
    case_id: str, deadline_id: str, request: Request, app_state: AppStateDep, caller: ReviewsCases, form: FormDep
) -> Response:
    """Extend a deadline."""
    due_at = form.text("due_at")
    values = {
        "version": form.number("version"),
        "due_at": f"{due_at}:00Z" if due_at else None,
        "reason": form.text("reason"),
    }
    return _act(
        request,
        app_state,
        caller,
        case_id,
        form,
        lambda: closing.extend(app_state, caller, case_id, deadline_id, parse(ExtendRequest, values)),
    )


@router.post("/erase")
def erase(case_id: str, request: Request, app_state: AppStateDep, caller: OperatesCases, form: FormDep) -> Response:
    """Erase the personal data."""
    action = partial(closing.erase, app_state, caller, case_id, form.number("version"))
    return _act(request, app_state, caller, case_id, form, action)


@router.get("/statement")
def show_statement(case_id: str, request: Request, app_state: AppStateDep, caller: ReadsCases) -> Response:
    """Show the statement of reasons, with links to its other forms."""
    case = reading.read(app_state, caller, case_id)
    return render(
        request,
        "cases/statement.html",
        case=case,
        statement=find_statement(app_state, caller, case_id),
        views=case_views,
    )


@router.get("/statement.{format}")
def download_statement(
    case_id: str, format: Literal["json", "dsa", "pdf"], app_state: AppStateDep, caller: ReadsCases
) -> Response:
    """Return the statement in another form."""
    return case_statements.read_statement_as(case_id, format, app_state, caller)
