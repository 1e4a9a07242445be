"""Who asks, and whether they may. Each route names the scope that it needs; a test sees that none forgets to."""

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

REMEMBERED = timedelta(seconds=1)
"""How long a key is believed without another look: a revoked one opens nothing after that."""
NOTED_EVERY = timedelta(minutes=1)
"""How closely the last use of a key is known: a write for every request would be too dear."""


class KeyRing:
    """Whom each key stands for. A key that was looked up a moment ago is not looked up again."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: dict[str, tuple[Caller, datetime]] = {}

    async def caller(self, key: str) -> Caller | None:
        """Whom a key stands for that holds now."""
        now = self._clock()
        found, seen = self._known.get(key, (None, now))
        if found is None or not now - REMEMBERED <= seen <= now:
            found = await run_in_threadpool(self._look_up, key, now)
            self._remember(key, found, now)
        return found

    def _remember(self, key: str, found: Caller | None, now: datetime) -> None:
        """Only keys that hold, so that nobody fills the memory with others."""
        if found is None:
            self._known.pop(key, None)
        else:
            self._known[key] = found, now

    def _look_up(self, key: str, now: datetime) -> Caller | None:
        with self._database.read() as session:
            found = api_keys.authenticate(session, key, now=now)
        if found is None:
            return None
        if found.last_used_at is None or now - found.last_used_at > NOTED_EVERY:
            with self._database.write() as session:
                api_keys.used(session, found.id, now=now)
        return Caller(found.id, found.tenant, frozenset(found.scopes))


async def caller(request: Request, needed: SecurityScopes) -> Caller:
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
