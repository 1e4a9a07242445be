"""The form of a removal, with a dry run while it is filled, and the upload of many removals as CSV."""

import json
from typing import Annotated, get_args
from uuid import uuid4

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.responses import RedirectResponse

from api_schemas.batches import Batch, BatchRequest
from api_schemas.edits import EditRequest
from api_schemas.kinds import ConceptKind
from api_schemas.plans import Plan
from api_schemas.problems import invalid_field
from service.api.auth import WritesEdits
from service.api.dependencies import AppStateDep, BatchedCallsDep
from service.api.routes.edits import load_edit
from service.core import batches, csv_removals, dry_runs, serializers
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import PendingEdit
from service.errors import InvalidRequest, ServiceError
from service.store import ledgers
from service.store.errors import UnknownModel
from service.store.idempotency import Scope
from service.web.removal_form import AUTOMATIC, KIND_LABELS, NAMED, NOTHING, POLICIES, RemovalForm, field_errors, to_csv
from service.web.rendering import render

router = APIRouter(prefix="/remove")

BECOMES = {
    AUTOMATIC: "a similar concept that is chosen automatically",
    NOTHING: "nothing in particular",
    NAMED: "this concept:",
}
MAX_RISKS = 8
"""Neighbours that the dry run shows."""
MAX_PROMPTS = 200
"""Prompts of the dry run that are shown, and can be unticked."""
MAX_FORM_FIELDS = 5000
EXAMPLE_CSV = "concept,kind,replacement,aliases\nfox,object,dog face,vixen|red fox\nink,style,,\n"


@router.get("")
def show_form(
    request: Request,
    app_state: AppStateDep,
    caller: WritesEdits,
    edit: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    """Show the form, with the values of an earlier edit if one is named."""
    if edit is None:
        return _form_page(request, app_state, RemovalForm(model=_model_ids(app_state)[0]))
    earlier = _load_request(app_state, caller, edit)
    if len(earlier.removals) > 1:
        return _csv_page(request, app_state, to_csv(earlier.removals), earlier.model)
    return _form_page(request, app_state, RemovalForm.from_request(earlier), earlier_edit=edit)


@router.post("/preview")
async def preview(request: Request, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Dry-run the form and show what the removal would do."""
    sent = await request.form(max_fields=MAX_FORM_FIELDS)
    form, plan, error = RemovalForm.from_form(sent), None, None
    try:
        earlier = await run_in_threadpool(_earlier_request, app_state, caller, sent)
        plan = await dry_runs.run_dry_run(app_state, form.request(earlier), caller, request.is_disconnected)
    except (ServiceError, UnknownModel) as raised:
        error = _as_service_error(raised)
    return _form_page(request, app_state, form, plan, error, _text(sent, "edit"), _text(sent, "key"), is_preview=True)


@router.post("")
async def submit(
    request: Request, app_state: AppStateDep, batched_calls: BatchedCallsDep, caller: WritesEdits
) -> Response:
    """Queue the removal and show its job. The same form sent twice makes one job."""
    sent = await request.form(max_fields=MAX_FORM_FIELDS)
    form = RemovalForm.from_form(sent)
    try:
        wanted = form.request(await run_in_threadpool(_earlier_request, app_state, caller, sent))
        scope = Scope(caller.key_id, "POST /remove", f"{_text(sent, 'key')}-{wanted.digest()[-16:]}")
        submission = await batched_calls.submit_edit(PendingEdit(caller, scope, wanted))
    except (ServiceError, UnknownModel) as raised:
        error = _as_service_error(raised)
        return _form_page(request, app_state, form, None, error, _text(sent, "edit"), _text(sent, "key"))
    return RedirectResponse(f"/jobs/{json.loads(submission.reply.body)['id']}", 303)


@router.get("/many")
def show_upload(request: Request, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Show the form for many removals."""
    return _csv_page(request, app_state, "", _model_ids(app_state)[0])


@router.post("/many")
async def check_upload(request: Request, app_state: AppStateDep, caller: WritesEdits) -> Response:
    """Check each row, and queue the valid ones once they were seen."""
    sent = await request.form()
    upload, model = sent.get("file"), _text(sent, "model")
    content = (
        await upload.read() if isinstance(upload, UploadFile) and upload.filename else _text(sent, "rows").encode()
    )
    return await run_in_threadpool(_check_rows, request, app_state, caller, content, model, "queue" in sent)


def _check_rows(
    request: Request, app_state: AppState, caller: Caller, content: bytes, model: str, queue: bool
) -> Response:
    text = content.decode("utf-8-sig", "replace")
    try:
        wanted = BatchRequest.model_validate({"model": model, "removals": csv_removals.parse_csv(content)})
        app_state.registry.get(model)
        candidates = batches.validate_removals(app_state, wanted)
        with app_state.database.read() as session:
            batches.reject_conflicts(ledgers.active_entries(session, caller.tenant, model), candidates)
        if queue:
            submission = batches.submit(app_state, wanted, caller, None)
            return RedirectResponse(f"/jobs/{Batch.model_validate_json(submission.reply.body).edit.id}", 303)
    except (ServiceError, UnknownModel, ValueError) as raised:
        return _csv_page(request, app_state, text, model, error=_as_service_error(raised))
    return _csv_page(request, app_state, text, model, candidates=candidates)


def _form_page(
    request: Request,
    app_state: AppState,
    form: RemovalForm,
    plan: Plan | None = None,
    error: ServiceError | None = None,
    earlier_edit: str = "",
    key: str = "",
    is_preview: bool = False,
) -> Response:
    risks = sorted((one for edit in plan.edits for one in edit.prompts), key=lambda one: -one.change) if plan else []
    return render(
        request,
        "remove.html",
        status=error.status if error and not is_preview else 200,
        form=form,
        plan=plan,
        error=error,
        errors=field_errors(error),
        names=form.offered_names(plan),
        risks=risks[:MAX_RISKS],
        max_prompts=MAX_PROMPTS,
        earlier_edit=earlier_edit,
        key=key or uuid4().hex,
        models=_model_ids(app_state),
        kinds={kind: KIND_LABELS[kind] for kind in get_args(ConceptKind)},
        policies=POLICIES,
        becomes=BECOMES,
    )


def _csv_page(
    request: Request,
    app_state: AppState,
    text: str,
    model: str,
    candidates: list[batches.BatchCandidate] | None = None,
    error: ServiceError | None = None,
) -> Response:
    return render(
        request,
        "remove_many.html",
        status=error.status if error else 200,
        text=text,
        model=model,
        models=_model_ids(app_state),
        candidates=candidates,
        valid=sum(one.removal is not None for one in candidates or ()),
        error=error,
        example=EXAMPLE_CSV,
    )


def _as_service_error(error: Exception) -> ServiceError:
    """Return the error as a form shows it."""
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, UnknownModel):
        field = invalid_field(["model"], code=error.code, message=error.message, remedy=error.remedy)
        return InvalidRequest(error.message, remedy=error.remedy, errors=[field])
    return InvalidRequest("The rows are not valid.", remedy="Give between 1 and 1000 rows.")


def _earlier_request(app_state: AppState, caller: Caller, sent: FormData) -> EditRequest | None:
    edit_id = _text(sent, "edit")
    return _load_request(app_state, caller, edit_id) if edit_id else None


def _load_request(app_state: AppState, caller: Caller, edit_id: str) -> EditRequest:
    return serializers.edit(load_edit(app_state, caller, edit_id)).request


def _model_ids(app_state: AppState) -> list[str]:
    return [model.id for model in app_state.registry.all()] or [""]


def _text(sent: FormData, name: str) -> str:
    value = sent.get(name, "")
    return value if isinstance(value, str) else ""
