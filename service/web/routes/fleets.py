"""Fleets: one decision for many models, what became of each, and the form for a new one."""

import json
from typing import Annotated, Any
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.responses import RedirectResponse

from api_schemas.fleets import FleetPlan, FleetRequest
from api_schemas.problems import invalid_fields
from service.api.auth import ReadsArtifacts, ReadsEdits, WritesEdits
from service.api.dependencies import AppStateDep
from service.api.routes import fleets
from service.api.routes.fleets import FleetId
from service.errors import InvalidRequest, ServiceError
from service.store.ids import FLEET_ID
from service.web.filters import as_sentence
from service.web.forms import FormDep, FormFields
from service.web.removal_form import AUTOMATIC, KIND_LABELS, NAMED, POLICIES, RemovalForm
from service.web.rendering import render

router = APIRouter(prefix="/fleets")

PAGE_SIZE = 25
SHOWN_TARGETS = 1000
NOTHING_SENT = FormFields({"policy": ["strict"]})


@router.get("")
def list_fleets(
    request: Request,
    app_state: AppStateDep,
    caller: ReadsEdits,
    after: Annotated[str | None, Query(pattern=FLEET_ID)] = None,
) -> Response:
    """Show the fleets, newest first."""
    page = fleets.list_fleets(app_state, caller, PAGE_SIZE, after)
    return render(request, "fleets.html", page=page, can_write="edits:write" in caller.scopes)


@router.get("/new")
def show_form(request: Request, caller: WritesEdits) -> Response:
    """Show the form for a new fleet."""
    return _form_page(request, NOTHING_SENT)


@router.post("/plan")
def plan(request: Request, app_state: AppStateDep, caller: WritesEdits, sent: FormDep) -> Response:
    """Show which models the form selects, and how many edits have to be solved."""
    try:
        return _form_page(request, sent, plan=fleets.plan(_parse(sent), app_state, caller))
    except ServiceError as error:
        return _form_page(request, sent, error=error)


@router.post("")
def create(request: Request, app_state: AppStateDep, caller: WritesEdits, sent: FormDep) -> Response:
    """Create the fleet, and show it. The same form sent twice makes one fleet."""
    try:
        wanted = _parse(sent)
        reply = fleets.create(wanted, app_state, caller, f"{sent.text('key')}-{wanted.digest()[-16:]}")
    except ServiceError as error:
        return _form_page(request, sent, error=error)
    return RedirectResponse(f"/fleets/{json.loads(bytes(reply.body))['id']}", 303)


@router.get("/{fleet_id}")
def show(request: Request, fleet_id: FleetId, app_state: AppStateDep, caller: ReadsEdits) -> Response:
    """Show a fleet and its targets."""
    targets = fleets.list_targets(fleet_id, app_state, caller, SHOWN_TARGETS).data
    return render(
        request,
        "fleet.html",
        fleet=fleets.read(fleet_id, app_state, caller),
        targets=targets,
        solved_for={target.edit: target.model for target in targets},
        can_write="edits:write" in caller.scopes,
        can_download="artifacts:read" in caller.scopes,
    )


@router.post("/{fleet_id}/cancel")
def cancel(fleet_id: FleetId, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Cancel what has not ended, and follow no more models."""
    fleets.cancel(fleet_id, app_state, caller)
    return RedirectResponse(f"/fleets/{fleet_id}", 303)


@router.get("/{fleet_id}/statement")
def download_statement(request: Request, fleet_id: FleetId, app_state: AppStateDep, caller: ReadsArtifacts) -> Response:
    """Return the signed statement, to be saved."""
    response = fleets.read_statement(fleet_id, request, app_state, caller)
    response.headers["Content-Disposition"] = f'attachment; filename="{fleet_id}.intoto.jsonl"'
    return response


def _parse(sent: FormFields) -> FleetRequest:
    """Return the request of the form. Raises `InvalidRequest`, naming each field."""
    edit = _removal_form(sent).request()
    selector: dict[str, Any] = {name: sent.optional(name) for name in ("family", "encoder")}
    selector |= {
        name: [one.strip() for one in sent.text(name).split(",") if one.strip()] for name in ("labels", "models")
    }
    try:
        return FleetRequest.from_edit(edit, selector, follow=bool(sent.text("follow")))
    except ValidationError as error:
        fields = invalid_fields(error.errors())
        raise InvalidRequest(fields[0].message, remedy=fields[0].remedy, errors=fields) from error


def _removal_form(sent: FormFields) -> RemovalForm:
    return RemovalForm(
        concept=sent.text("concept"),
        kind=sent.text("kind") or "object",
        becomes=NAMED if sent.text("replacement") else AUTOMATIC,
        replacement=sent.text("replacement"),
        aliases=sent.text("aliases"),
        policy=sent.text("policy"),
        withhold_names=bool(sent.text("withhold_names")),
    )


def _form_page(
    request: Request, sent: FormFields, *, plan: FleetPlan | None = None, error: ServiceError | None = None
) -> Response:
    return render(
        request,
        "fleet_new.html",
        status=error.status if error else 200,
        form=_removal_form(sent),
        sent=sent,
        plan=plan,
        error=error,
        problems=[f"{one.field}: {as_sentence(one.message)} {one.remedy}" for one in error.errors] if error else [],
        kinds=KIND_LABELS,
        key=sent.text("key") or uuid4().hex,
        policies=POLICIES,
    )
