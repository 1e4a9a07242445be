"""Who asks, and whether they may. Each route names the scope that it needs; a test sees that none forgets to."""

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Request, Security
from fastapi.security import SecurityScopes

from service.errors import Forbidden


@dataclass(frozen=True)
class Caller:
    """Whom a key stands for."""

    key_id: str
    tenant: str
    scopes: frozenset[str]


def caller(request: Request, needed: SecurityScopes) -> Caller:
    """Whose key came with the request: the middleware has checked it. Raises `Forbidden`."""
    found = cast(Caller, request.state.caller)
    missing = [scope for scope in needed.scopes if scope not in found.scopes]
    if missing:
        raise Forbidden(
            f"the key {found.key_id} has no scope {missing[0]}.",
            remedy=f"Have the operator make one with: expunge api-keys create --scope {missing[0]}",
        )
    return found


ReadsEdits = Annotated[Caller, Security(caller, scopes=["edits:read"])]
WritesEdits = Annotated[Caller, Security(caller, scopes=["edits:write"])]
ReadsArtifacts = Annotated[Caller, Security(caller, scopes=["artifacts:read"])]
ReadsLedger = Annotated[Caller, Security(caller, scopes=["ledger:read"])]
ReadsModels = Annotated[Caller, Security(caller, scopes=["models:read"])]
ReadsWebhooks = Annotated[Caller, Security(caller, scopes=["webhooks:read"])]
WritesWebhooks = Annotated[Caller, Security(caller, scopes=["webhooks:write"])]
ReadsMetrics = Annotated[Caller, Security(caller, scopes=["metrics:read"])]
ReadsAudit = Annotated[Caller, Security(caller, scopes=["audit:read"])]
