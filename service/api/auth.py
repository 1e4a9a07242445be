"""API keys and scopes. Each route names the scope that it requires; a contract test checks that none is missing."""

import hashlib
import logging
from datetime import datetime, timedelta
from typing import Annotated, cast

from fastapi import Request, Security
from fastapi.security import SecurityScopes
from starlette.concurrency import run_in_threadpool

from service.core.caller import Caller
from service.errors import Forbidden
from service.store import api_keys
from service.store.clock import Clock
from service.store.database import Database
from service.store.errors import StoreUnavailable

log = logging.getLogger(__name__)

CACHE_LIFETIME = timedelta(seconds=1)
"""How long a successful authentication is cached; a revoked key stops working within this time."""
LAST_USED_RESOLUTION = timedelta(minutes=1)
"""Resolution of `last_used_at`: a database write for each request would be too expensive."""


class Authenticator:
    """Authenticates API keys against the database and caches the result for `CACHE_LIFETIME`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._cache: dict[bytes, tuple[Caller, datetime]] = {}
        """By the digest of the key: keys do not stay in memory."""

    async def authenticate(self, key: str) -> Caller | None:
        """Return the caller of a valid key, or None."""
        now, digest = self._clock(), hashlib.sha256(key.encode()).digest()
        caller, cached_at = self._cache.get(digest, (None, now))
        if caller is None or not now - CACHE_LIFETIME <= cached_at <= now:
            caller = await run_in_threadpool(self._authenticate, key, now)
            self._store(digest, caller, now)
        return caller

    def _store(self, digest: bytes, caller: Caller | None, now: datetime) -> None:
        """Cache valid keys only, so that invalid ones cannot fill the memory."""
        if caller is None:
            self._cache.pop(digest, None)
        else:
            self._cache[digest] = caller, now

    def _authenticate(self, key: str, now: datetime) -> Caller | None:
        with self._database.read() as session:
            row = api_keys.authenticate(session, key, now=now)
        if row is None:
            return None
        if row.last_used_at is None or now - row.last_used_at > LAST_USED_RESOLUTION:
            self._mark_used(row.id, now)
        return Caller(row.id, row.tenant, frozenset(row.scopes))

    def _mark_used(self, key_id: str, now: datetime) -> None:
        """Note the use of the key. Failure is only logged: on a full disk, reads must go on."""
        try:
            with self._database.write() as session:
                api_keys.mark_used(session, key_id, now=now)
        except StoreUnavailable as error:
            log.warning("the use of API key %s was not noted: %s", key_id, error.message)


async def caller(request: Request, required: SecurityScopes) -> Caller:
    """Return the caller, whom the middleware has authenticated. Raises `Forbidden` if a required scope is missing."""
    authenticated = cast(Caller, request.state.caller)
    missing = [scope for scope in required.scopes if scope not in authenticated.scopes]
    if missing:
        raise Forbidden(
            f"The API key {authenticated.key_id} does not have the scope {missing[0]}.",
            remedy=f"Ask the operator for a key made with: expunge api-keys create --scope {missing[0]}",
        )
    return authenticated


ReadsEdits = Annotated[Caller, Security(caller, scopes=["edits:read"])]
WritesEdits = Annotated[Caller, Security(caller, scopes=["edits:write"])]
ReadsArtifacts = Annotated[Caller, Security(caller, scopes=["artifacts:read"])]
ReadsLedger = Annotated[Caller, Security(caller, scopes=["ledger:read"])]
ReadsModels = Annotated[Caller, Security(caller, scopes=["models:read"])]
WritesModels = Annotated[Caller, Security(caller, scopes=["models:write"])]
ReadsWebhooks = Annotated[Caller, Security(caller, scopes=["webhooks:read"])]
WritesWebhooks = Annotated[Caller, Security(caller, scopes=["webhooks:write"])]
ReadsMetrics = Annotated[Caller, Security(caller, scopes=["metrics:read"])]
ReadsCases = Annotated[Caller, Security(caller, scopes=["cases:read"])]
ReadsPersonalData = Annotated[Caller, Security(caller, scopes=["personal_data:read"])]
WritesCases = Annotated[Caller, Security(caller, scopes=["cases:write"])]
ReviewsCases = Annotated[Caller, Security(caller, scopes=["cases:review"])]
OperatesCases = Annotated[Caller, Security(caller, scopes=["cases:operate"])]
ReadsService = Annotated[Caller, Security(caller, scopes=["service:read"])]
WritesService = Annotated[Caller, Security(caller, scopes=["service:write"])]
ReadsAudit = Annotated[Caller, Security(caller, scopes=["audit:read"])]
