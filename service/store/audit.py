"""The audit log: append-only lines, each with a hash that covers the previous line's hash.

Removing, changing or reordering lines breaks the chain. Truncating the log does not, so record the last line's hash outside
of the database from time to time and verify against it. Lines name keys, edits and digests, never concepts.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from service.store.orm import AuditLine, add_rows

GENESIS_HASH = "0" * 64
"""The `previous` hash of the first line."""
APPEND_LOCK = 0x65787062
"""Key of the PostgreSQL advisory lock that serializes appends. SQLite has a single writer anyway."""
ROWS_PER_FETCH = 1000
_LAST = select(AuditLine.seq, AuditLine.hash).order_by(AuditLine.seq.desc()).limit(1)


@dataclass(frozen=True)
class ChainCheck:
    """The result of verifying the chain."""

    lines: int
    head: str
    """The hash of the last line."""
    fault: str | None = None
    """What is wrong and with which line, or None."""


@dataclass(frozen=True)
class AuditEntry:
    """What was done, for which tenant, by whom and to what."""

    tenant: str
    actor: str
    action: str
    target: str
    details: dict[str, Any]


def record(
    session: Session, tenant: str, actor: str, action: str, target: str, *, now: datetime, **details: Any
) -> None:
    """Append a line in the current transaction. Call it last: other writers of the log wait until the transaction ends."""
    record_all(session, [AuditEntry(tenant, actor, action, target, details)], now=now)


def record_all(session: Session, entries: Sequence[AuditEntry], *, now: datetime) -> None:
    """Append one line per entry, in order."""
    if not entries:
        return
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": APPEND_LOCK})
    last, head = session.execute(_LAST).one_or_none() or (0, GENESIS_HASH)
    rows = []
    for seq, entry in enumerate(entries, last + 1):
        previous, head = head, line_hash(seq, now, entry, head)
        rows.append({"seq": seq, "at": now, **vars(entry), "previous": previous, "hash": head})
    add_rows(session, AuditLine, rows)


def line_hash(seq: int, at: datetime, entry: AuditEntry, previous: str) -> str:
    """Return the SHA-256 over the line as canonical JSON, which includes the previous line's hash."""
    content = [seq, at.isoformat(timespec="microseconds"), *vars(entry).values(), previous]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def verify(session: Session, expected: tuple[int, str] | None = None) -> ChainCheck:
    """Verify the hash of every line.

    Args:
        expected: sequence number and hash of a line that was recorded earlier.
    """
    number, head = 0, GENESIS_HASH
    for line in all_lines(session):
        number += 1
        if (line.seq, line.previous, line.hash) != (number, head, line_hash(line.seq, line.at, _entry_of(line), head)):
            return ChainCheck(number, head, f"line {number} was changed after it was written")
        head = line.hash
        if expected and number == expected[0] and head != expected[1]:
            return ChainCheck(number, head, f"line {number} does not have the recorded hash")
    if expected and number < expected[0]:
        return ChainCheck(number, head, f"line {expected[0]} is missing: the log ends at line {number}")
    return ChainCheck(number, head)


def _entry_of(line: AuditLine) -> AuditEntry:
    return AuditEntry(line.tenant, line.actor, line.action, line.target, line.details)


def all_lines(session: Session) -> Iterator[AuditLine]:
    """Iterate over all lines, oldest first."""
    return iter(session.scalars(select(AuditLine).order_by(AuditLine.seq).execution_options(yield_per=ROWS_PER_FETCH)))


def page(session: Session, tenant: str, *, after: int, limit: int) -> Sequence[AuditLine]:
    """Return the tenant's lines with a sequence number above `after`, oldest first."""
    query = select(AuditLine).where(AuditLine.tenant == tenant, AuditLine.seq > after)
    return session.scalars(query.order_by(AuditLine.seq).limit(limit)).all()
