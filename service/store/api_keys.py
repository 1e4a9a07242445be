"""API keys: `expunge_<id>_<secret>`. The store keeps a hash of the secret and compares it in constant time.

The secret has 256 random bits, so an unsalted SHA-256 cannot be reversed by guessing.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from api_schemas.access import DEFAULT_TENANT, SCOPES
from service.store.orm import ApiKey

_KEY_FORMAT = re.compile(r"expunge_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
_UNKNOWN_KEY_HASH = "0" * 64


def generate_api_key() -> str:
    """Generate a new key. The plain key is not stored anywhere."""
    return f"expunge_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def register(
    session: Session,
    key: str,
    *,
    now: datetime,
    tenant: str = DEFAULT_TENANT,
    name: str = "",
    scopes: Sequence[str] = SCOPES,
    expires_at: datetime | None = None,
) -> str:
    """Store the key's hash, unless the key is stored already. Returns the key's id."""
    match = _KEY_FORMAT.fullmatch(key)
    if match is None:
        raise ValueError("The key does not have the format of an Expunge API key.")
    if session.get(ApiKey, match["id"]) is None:
        session.add(
            ApiKey(
                id=match["id"],
                secret_sha256=_digest(match["secret"]),
                tenant=tenant,
                name=name,
                scopes=list(scopes),
                created_at=now,
                expires_at=expires_at,
            )
        )
    return match["id"]


def authenticate(session: Session, key: str, *, now: datetime) -> ApiKey | None:
    """Return the key if it is known, not revoked and not expired, else None. Takes the same time for any well-formed key."""
    match = _KEY_FORMAT.fullmatch(key)
    if match is None:
        return None
    row = session.get(ApiKey, match["id"])
    expected = row.secret_sha256 if row and is_valid(row, now) else _UNKNOWN_KEY_HASH
    return row if hmac.compare_digest(expected, _digest(match["secret"])) else None


def is_valid(key: ApiKey, now: datetime) -> bool:
    """Return whether the key is neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at)


def mark_used(session: Session, key_id: str, *, now: datetime) -> None:
    """Record when the key was last used."""
    session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=now))


def revoke(session: Session, key_id: str, *, now: datetime) -> ApiKey | None:
    """Revoke the key; cached authentications expire within a second. Returns None if there is no such key."""
    key = session.get(ApiKey, key_id)
    if key and key.revoked_at is None:
        key.revoked_at = now
    return key


def get(session: Session, key_id: str) -> ApiKey | None:
    """Return the key with this id, or None."""
    return session.get(ApiKey, key_id)


def in_order(scopes: Sequence[str]) -> list[str]:
    """Return scopes without repetition, in the order of `SCOPES`."""
    return [scope for scope in SCOPES if scope in scopes]


def all_keys(session: Session) -> Sequence[ApiKey]:
    """Return all keys, ordered by tenant and creation time."""
    return session.scalars(select(ApiKey).order_by(ApiKey.tenant, ApiKey.created_at, ApiKey.id)).all()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
