"""Ids: a type prefix and a ULID. They sort by creation time, so an id also serves as a cursor of a list."""

import secrets
from datetime import datetime

from api_schemas.jobs import QUICK_KINDS, JobKind

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

ULID = "[0-9A-HJKMNP-TV-Z]{26}"
EDIT_ID, BATCH_ID, DELIVERY_ID, CALIBRATION_ID, PREVIEW_ID, CASE_ID, FLEET_ID = (
    rf"^{prefix}_{ULID}$" for prefix in ("edit", "batch", "msg", "cal", "prev", "case", "fleet")
)
JOB_PREFIXES: dict[JobKind, str] = {
    "removal": "edit",
    "revocation": "edit",
    "plan": "plan",
    "calibration": "cal",
    "preview": "prev",
    "registration": "reg",
    "statement": "fst",
}


def prefixed_id(prefix: str, now: datetime) -> str:
    """Return a new id: 48 bits of milliseconds since 1970 and 80 random bits, in 26 Crockford base32 digits."""
    return f"{prefix}_{_ulid(int(now.timestamp() * 1000), secrets.randbits(80))}"


def is_quick(job_id: str) -> bool:
    """Return whether the id is that of a small job that somebody waits for."""
    return job_id.startswith(tuple(f"{JOB_PREFIXES[kind]}_" for kind in QUICK_KINDS))


def is_edit(job_id: str) -> bool:
    """Return whether the id is that of an edit."""
    return job_id.startswith("edit_")


def _ulid(milliseconds: int, randomness: int) -> str:
    number = milliseconds << 80 | randomness
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
