"""API keys of all tenants, for operators."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Path

from api_schemas.jobs import Page
from api_schemas.operations import ApiKey, ApiKeyRequest
from service.api.auth import ReadsService, WritesService
from service.api.dependencies import AppStateDep
from service.api.strict_json import StrictJsonRoute
from service.errors import found
from service.store import api_keys, audit

router = APIRouter(prefix="/v1/api_keys", tags=["api_keys"], route_class=StrictJsonRoute)

KeyId = Annotated[str, Path(description="The id that `POST /v1/api_keys` returned: the first part of the key.")]


@router.post("", status_code=201, summary="Create an API key")
def create(body: ApiKeyRequest, app_state: AppStateDep, caller: WritesService) -> ApiKey:
    """Create a key. The key itself is returned in this response only."""
    now, key = app_state.clock(), api_keys.generate_api_key()
    expires_at = now + timedelta(days=body.days) if body.days else None
    scopes = api_keys.in_order(body.scopes)
    with app_state.database.write() as session:
        key_id = api_keys.register(
            session, key, now=now, tenant=body.tenant, name=body.name, scopes=scopes, expires_at=expires_at
        )
        audit.record(session, body.tenant, caller.key_id, "api_key.create", key_id, now=now, scopes=scopes)
        row = api_keys.get(session, key_id)
        return ApiKey.model_validate(row, from_attributes=True).model_copy(update={"key": key})


@router.get("", summary="List the API keys")
def list_keys(app_state: AppStateDep, caller: ReadsService) -> Page[ApiKey]:
    """Return the keys of all tenants, also revoked and expired ones, by tenant and time of creation."""
    with app_state.database.read() as session:
        rows = api_keys.all_keys(session)
        return Page[ApiKey](data=[ApiKey.model_validate(row, from_attributes=True) for row in rows])


@router.post("/{key_id}/revoke", summary="Revoke an API key")
def revoke(key_id: KeyId, app_state: AppStateDep, caller: WritesService) -> ApiKey:
    """Revoke a key. It stops working within a second, and so do sessions that signed in with it."""
    now = app_state.clock()
    with app_state.database.write() as session:
        row = found(api_keys.get(session, key_id), "API key", key_id, "/v1/api_keys")
        if row.revoked_at is None:
            api_keys.revoke(session, key_id, now=now)
            audit.record(session, row.tenant, caller.key_id, "api_key.revoke", key_id, now=now)
        return ApiKey.model_validate(row, from_attributes=True)
