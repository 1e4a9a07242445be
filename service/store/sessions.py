"""Sessions of the web pages: a random id in a cookie, of which the store keeps a hash, as it does of API keys.

A session that began with an API key has that key's scopes and ends with it. One that began at an identity provider has its own.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, or_
from sqlalchemy.orm import Session

from service.store import api_keys
from service.store.orm import ApiKey, WebSession

_ID_BYTES = 32
_ID_FORMAT = re.compile(r"[A-Za-z0-9_-]{43}")
SEEN_RESOLUTION = timedelta(minutes=1)
"""Resolution of `seen_at`: a database write for each page would be too expensive."""


@dataclass(frozen=True)
class SessionLimits:
    """When a session ends: so long after its last page, and so long after its beginning."""

    idle: timedelta
    absolute: timedelta


@dataclass(frozen=True)
class SessionUser:
    """Whom a session belongs to, and what it allows. `key_id` is the API key's id, or the id of an OpenID Connect user."""

    key_id: str
    tenant: str
    name: str
    scopes: Sequence[str]
    is_api_key: bool


def start(session: Session, user: SessionUser, limits: SessionLimits, *, now: datetime) -> str:
    """Store a session and return its id, 256 random bits. The id itself is not stored anywhere."""
    session_id = secrets.token_urlsafe(_ID_BYTES)
    session.add(
        WebSession(
            id_sha256=_digest(session_id),
            api_key_id=user.key_id if user.is_api_key else None,
            user_id=user.key_id,
            tenant=user.tenant,
            name=user.name,
            scopes=list(user.scopes),
            created_at=now,
            seen_at=now,
            expires_at=now + limits.absolute,
        )
    )
    return session_id


def find(session: Session, session_id: str, limits: SessionLimits, *, now: datetime) -> WebSession | None:
    """Return the session if it is known and has not ended. Its scopes are those that the API key has now."""
    row = session.get(WebSession, _digest(session_id)) if _ID_FORMAT.fullmatch(session_id) else None
    if row is None or now >= row.expires_at or now >= row.seen_at + limits.idle:
        return None
    if row.api_key_id is None:
        return row
    key = session.get(ApiKey, row.api_key_id)
    if key is None or not api_keys.is_valid(key, now):
        return None
    session.expunge(row)
    row.tenant, row.scopes, row.name = key.tenant, key.scopes, key.name
    return row


def mark_seen(session: Session, row: WebSession, *, now: datetime) -> None:
    """Record when the session was last used."""
    if stored := session.get(WebSession, row.id_sha256):
        stored.seen_at = now


def end(session: Session, session_id: str) -> None:
    """Delete the session, if there is one."""
    session.execute(delete(WebSession).where(WebSession.id_sha256 == _digest(session_id)))


def delete_ended(session: Session, limits: SessionLimits, *, now: datetime) -> None:
    """Delete the sessions that have expired."""
    ended = or_(WebSession.expires_at <= now, WebSession.seen_at <= now - limits.idle)
    session.execute(delete(WebSession).where(ended))


def _digest(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
