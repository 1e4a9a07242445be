"""Who may do what: scopes of API keys, and the keys as their operator sees them."""

import re
from datetime import datetime
from typing import Literal, TypeAlias, get_args

from pydantic import Field

from api_schemas.base import Resource

Scope: TypeAlias = Literal[
    "edits:read",
    "edits:write",
    "artifacts:read",
    "ledger:read",
    "models:read",
    "webhooks:read",
    "webhooks:write",
    "audit:read",
    "metrics:read",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)

SCOPE_DESCRIPTIONS: dict[Scope, str] = {
    "edits:read": "read edits, their events and batches",
    "edits:write": "ask for removals, revoke them, cancel, try a request out",
    "artifacts:read": "download published files and reports, also as a Hugging Face Hub",
    "ledger:read": "read what is removed from a model, by name",
    "models:read": "read which base models there are",
    "webhooks:read": "read webhook endpoints and their deliveries",
    "webhooks:write": "add and remove webhook endpoints, deliver again",
    "audit:read": "read the tenant's audit log",
    "metrics:read": "read the service's figures, all tenants' together",
}

DEFAULT_TENANT = "default"
TENANT_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class ApiKeyRecord(Resource):
    """A key as it is listed: never the key itself."""

    object: Literal["api_key"] = "api_key"
    id: str
    tenant: str = Field(description="Whose edits, files, events and ledgers it opens; no others.")
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = Field(default=None, description="To within a minute.")
