"""Ids: a type prefix, then a ULID. They sort by time of creation, so an id is also a list's cursor."""

import secrets
from datetime import datetime

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

EDIT_ID = r"^edit_[0-9A-HJKMNP-TV-Z]{26}$"


def edit_id(now: datetime) -> str:
    """A new id: 48 bits of milliseconds since 1970, 80 random bits, in 26 Crockford digits."""
    return f"edit_{_ulid(int(now.timestamp() * 1000), secrets.randbits(80))}"


def _ulid(milliseconds: int, randomness: int) -> str:
    number = milliseconds << 80 | randomness
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))
