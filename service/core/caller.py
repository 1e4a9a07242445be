"""The authenticated caller."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Caller:
    """An API key's id, its tenant and its scopes."""

    key_id: str
    tenant: str
    scopes: frozenset[str]
