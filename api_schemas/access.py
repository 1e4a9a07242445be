"""Scopes of API keys, and API keys as the operator lists them."""

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
    "models:write",
    "cases:read",
    "cases:write",
    "cases:review",
    "cases:operate",
    "personal_data:read",
    "webhooks:read",
    "webhooks:write",
    "audit:read",
    "metrics:read",
    "service:read",
    "service:write",
]
SCOPES: tuple[Scope, ...] = get_args(Scope)
OPERATOR_SCOPES: frozenset[Scope] = frozenset({"models:write", "service:read", "service:write"})
"""Scopes that affect all tenants: a key has them only if its creator names them."""
TENANT_SCOPES: tuple[Scope, ...] = tuple(scope for scope in SCOPES if scope not in OPERATOR_SCOPES)

SCOPE_DESCRIPTIONS: dict[Scope, str] = {
    "edits:read": "read edits, their events, batches and previews",
    "edits:write": "create and revoke edits, cancel them, run dry runs, generate previews",
    "artifacts:read": "download published files and reports, also through the Hugging Face Hub routes",
    "ledger:read": "read the ledger of a model, including the names of removed concepts",
    "models:read": "list base models and calibrations",
    "models:write": "register, change, delete and calibrate base models, which all tenants share",
    "cases:read": "read takedown cases, their history and statements, without what is sealed",
    "cases:write": "open cases, claim them and decide them",
    "cases:review": "approve decisions, resolve complaints, extend deadlines",
    "cases:operate": "override the earliest time of a restoration, erase personal data",
    "personal_data:read": "read and search the sealed text of cases; each reading is recorded",
    "webhooks:read": "read webhook endpoints and their deliveries",
    "webhooks:write": "add, change, test and delete webhook endpoints, redeliver messages",
    "audit:read": "read the tenant's audit log",
    "metrics:read": "read the service's metrics, which cover all tenants",
    "service:read": "list API keys, queues, workers and jobs of all tenants",
    "service:write": "create API keys with any scope, revoke them, pause queues, retry failed jobs of all tenants",
}

DEFAULT_TENANT = "default"
TENANT_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


class ApiKeyRecord(Resource):
    """An API key without its secret."""

    object: Literal["api_key"] = "api_key"
    id: str
    tenant: str = Field(description="The key gives access to the edits, files, events and ledgers of this tenant only.")
    name: str
    scopes: list[Scope]
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = Field(default=None, description="Updated at most once a minute.")
