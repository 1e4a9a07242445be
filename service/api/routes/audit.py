"""What others check us by: the keys that reports are signed with, and the audit log."""

from typing import Annotated

from fastapi import APIRouter, Query

from api_schemas.attestation import PublicKeys
from api_schemas.audit import AuditLine
from api_schemas.jobs import Page
from service.api.auth import ReadsArtifacts, ReadsAudit
from service.core import serializers
from service.core.app_state import BackendDep
from service.store import audit
from service.store.orm import HIGHEST

router = APIRouter(prefix="/v1", tags=["records"])

KEY_LIST = "keys.json"


@router.get("/signing_keys", summary="The keys that sign", response_model_by_alias=True)
def signing_keys(backend: BackendDep, caller: ReadsArtifacts) -> PublicKeys:
    """Public keys, with the times in which each was good: what `expunge verify --keys` takes."""
    folder = backend.settings.signing_dir
    path = folder / KEY_LIST if folder else None
    return PublicKeys.model_validate_json(path.read_bytes()) if path and path.is_file() else PublicKeys(keys=[])


@router.get("/audit_log", summary="Who did what, oldest first")
def audit_log(
    backend: BackendDep,
    caller: ReadsAudit,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    after: Annotated[int, Query(ge=0, le=HIGHEST, description="The last `seq` that you have.")] = 0,
) -> Page[AuditLine]:
    """Your tenant's lines. `expunge audit verify` looks at the whole chain."""
    with backend.database.read() as session:
        rows = audit.page(session, caller.tenant, after=after, limit=limit + 1)
    lines = [AuditLine.model_validate(row, from_attributes=True) for row in rows]
    return serializers.page(lines, limit, lambda line: line.seq)
