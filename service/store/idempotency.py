"""Stored replies, which are returned again when a request is repeated with the same Idempotency-Key."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from service.store.orm import IdempotencyKey, add_rows


@dataclass(frozen=True)
class Scope:
    """What identifies an idempotent request: caller, route and key."""

    api_key_id: str
    route: str
    key: str


@dataclass(frozen=True)
class Reply:
    """A stored reply, and the fingerprint of the request body that it answered."""

    fingerprint: str
    status_code: int
    body: str


_SCOPE = tuple_(IdempotencyKey.api_key_id, IdempotencyKey.route, IdempotencyKey.key)


def find_replies(session: Session, scopes: Collection[Scope]) -> dict[Scope, Reply]:
    """Return the stored replies of these scopes."""
    if not scopes:
        return {}
    keys = [(scope.api_key_id, scope.route, scope.key) for scope in scopes]
    rows = session.scalars(select(IdempotencyKey).where(_SCOPE.in_(keys)))
    return {
        Scope(row.api_key_id, row.route, row.key): Reply(row.fingerprint, row.status_code, row.body) for row in rows
    }


def store_replies(session: Session, replies: Mapping[Scope, Reply], *, now: datetime) -> None:
    """Store replies in the transaction that made the changes they report."""
    rows = [{**vars(scope), **vars(reply), "created_at": now} for scope, reply in replies.items()]
    add_rows(session, IdempotencyKey, rows)
