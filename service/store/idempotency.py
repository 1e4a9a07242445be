"""Replies that were given, kept to be given again when the same request comes twice."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from service.store.schema import IdempotencyKey


@dataclass(frozen=True)
class Scope:
    """What makes two uses of a key the same one: who, where, and the key itself."""

    api_key_id: str
    route: str
    key: str


@dataclass(frozen=True)
class Reply:
    """A stored reply, and the fingerprint of the body that it answered."""

    fingerprint: str
    status_code: int
    body: str


def find(session: Session, scope: Scope) -> Reply | None:
    """The reply that was given to this key, if one was."""
    row = session.get(IdempotencyKey, (scope.api_key_id, scope.route, scope.key))
    return Reply(row.fingerprint, row.status_code, row.body) if row else None


def remember(session: Session, scope: Scope, reply: Reply, *, now: datetime) -> None:
    """Keep the reply, in the transaction that did what it says."""
    session.add(IdempotencyKey(**vars(scope), **vars(reply), created_at=now))
    session.flush()
