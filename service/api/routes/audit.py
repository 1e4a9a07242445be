"""Signing keys and the audit log."""

from typing import Annotated

from fastapi import APIRouter, Query

from api_schemas.attestation import PublicKeys
from api_schemas.audit import AuditLine
from api_schemas.jobs import Page
from service.api.auth import ReadsArtifacts, ReadsAudit
from service.api.dependencies import AppStateDep
from service.api.paging import LongPageLimit
from service.core import serializers
from service.store import audit
from service.store.orm import MAX_INTEGER

router = APIRouter(prefix="/v1", tags=["records"])

KEY_LIST = "keys.json"


@router.get("/signing_keys", summary="List the signing keys", response_model_by_alias=True)
def signing_keys(app_state: AppStateDep, caller: ReadsArtifacts) -> PublicKeys:
    """Return the public keys and the period in which each is valid, in the format of `expunge verify --keys`."""
    folder = app_state.settings.signing_dir
    path = folder / KEY_LIST if folder else None
    return PublicKeys.model_validate_json(path.read_bytes()) if path and path.is_file() else PublicKeys(keys=[])


@router.get("/audit_log", summary="List the audit log, oldest first")
def audit_log(
    app_state: AppStateDep,
    caller: ReadsAudit,
    limit: LongPageLimit = 100,
    after: Annotated[int, Query(ge=0, le=MAX_INTEGER, description="Return lines after this `seq`.")] = 0,
) -> Page[AuditLine]:
    """Return a page of your tenant's lines. `expunge audit verify` checks the whole hash chain."""
    with app_state.database.read() as session:
        rows = audit.page(session, caller.tenant, after=after, limit=limit + 1)
    lines = [AuditLine.model_validate(row, from_attributes=True) for row in rows]
    return serializers.page(lines, limit, lambda line: line.seq)
