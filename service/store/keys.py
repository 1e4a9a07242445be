"""API keys: `expunge_<id>_<secret>`. The store keeps the secret's hash, and compares it in constant time.

The secret has 256 random bits, so a plain hash of it cannot be reversed by guessing: no salt, no slow hash.
"""

import hashlib
import hmac
import re
import secrets
from datetime import datetime

from sqlalchemy.orm import Session

from service.store.schema import ApiKey

_FORM = re.compile(r"expunge_(?P<id>[0-9a-f]{12})_(?P<secret>[A-Za-z0-9_-]{43})")
_NO_HASH = "0" * 64


def new_key() -> str:
    """A fresh key. Only its owner ever has it."""
    return f"expunge_{secrets.token_hex(6)}_{secrets.token_urlsafe(32)}"


def register(session: Session, key: str, *, now: datetime) -> str:
    """Let the key in. Returns its id; does nothing when it is known."""
    match = _FORM.fullmatch(key)
    if match is None:
        raise ValueError("not an Expunge API key")
    if session.get(ApiKey, match["id"]) is None:
        session.add(ApiKey(id=match["id"], secret_sha256=_digest(match["secret"]), created_at=now))
    return match["id"]


def authenticate(session: Session, key: str) -> str | None:
    """The id of a key that is known and not revoked, else None. As quick for any well-formed key."""
    match = _FORM.fullmatch(key)
    if match is None:
        return None
    known = session.get(ApiKey, match["id"])
    expected = known.secret_sha256 if known and known.revoked_at is None else _NO_HASH
    return match["id"] if hmac.compare_digest(expected, _digest(match["secret"])) else None


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
