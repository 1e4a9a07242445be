"""Administration of the API keys of all tenants, for operators."""

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from api_schemas.access import SCOPE_DESCRIPTIONS, TENANT_SCOPES
from api_schemas.operations import ApiKey, ApiKeyRequest
from service.api.auth import ReadsService, WritesService
from service.api.dependencies import AppStateDep
from service.api.routes import api_keys
from service.api.routes.api_keys import KeyId
from service.core.app_state import AppState
from service.core.caller import Caller
from service.errors import ServiceError
from service.web import forms
from service.web.admin_sections import render_section
from service.web.forms import FormDep, FormFields

router = APIRouter(prefix="/admin")

NOTHING_SENT = FormFields({"scopes": list(TENANT_SCOPES)})


@router.get("/keys")
def list_keys(request: Request, app_state: AppStateDep, caller: ReadsService) -> Response:
    """Show the API keys, and the form for a new one."""
    return _keys_page(request, app_state, caller)


@router.post("/keys")
def create_key(request: Request, app_state: AppStateDep, caller: WritesService, form: FormDep) -> Response:
    """Create a key, and show it this once."""
    try:
        created = api_keys.create(_parse_key(form), app_state, caller)
    except ServiceError as error:
        return _keys_page(request, app_state, caller, form, error=error)
    return _keys_page(request, app_state, caller, created=created)


@router.post("/keys/{key_id}/revoke")
def revoke_key(key_id: KeyId, app_state: AppStateDep, caller: WritesService) -> Response:
    """Revoke a key."""
    api_keys.revoke(key_id, app_state, caller)
    return RedirectResponse("/admin/keys", 303)


def _parse_key(form: FormFields) -> ApiKeyRequest:
    days = form.text("days")
    sent = {"tenant": form.text("tenant"), "name": form.text("name"), "scopes": form.all("scopes")}
    return forms.parse(ApiKeyRequest, sent | ({"days": form.number("days")} if days else {}))


def _keys_page(
    request: Request,
    app_state: AppState,
    caller: Caller,
    form: FormFields = NOTHING_SENT,
    *,
    created: ApiKey | None = None,
    error: ServiceError | None = None,
) -> Response:
    return render_section(
        request,
        "admin_keys.html",
        status=error.status if error else 200,
        keys=api_keys.list_keys(app_state, caller).data,
        created=created,
        form=form,
        error=error,
        scopes=SCOPE_DESCRIPTIONS,
        now=app_state.clock(),
        can_write="service:write" in caller.scopes,
    )
