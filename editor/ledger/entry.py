"""An entry of a ledger: one removal."""

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.edits import EditOptions, EditRequest
from api_schemas.edits import Removal as RequestedRemoval

MIN_DIGEST_PREFIX, DISPLAY_DIGEST_LENGTH = 8, 12


class LedgerEntry(BaseModel):
    """A removal as requested, with the options of its request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    removal: RequestedRemoval
    options: EditOptions = EditOptions()
    label: str = Field(
        "", description="The caller's own reference, such as a ticket number. Does not affect the weights."
    )
    since: datetime | None = Field(None, description="When the removal was added. Does not affect the weights.")
    until: datetime | None = Field(None, description="When the removal was revoked.")
    withhold_name: bool = Field(
        True,
        description="Whether published files leave the name out. Does not affect the weights. Ledgers of earlier versions do "
        "not say, so their names are withheld.",
    )

    @cached_property
    def digest(self) -> str:
        """sha256 of the removal and its options in canonical JSON, without label and times."""
        requested = [self.removal.model_dump(mode="json"), self.options.model_dump(mode="json")]
        return hashlib.sha256(json.dumps(requested, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def name(self) -> str:
        """Unique name in conflict messages, with the caller's own reference."""
        short = self.digest[:DISPLAY_DIGEST_LENGTH]
        return f"{self.label} ({short})" if self.label else short

    def matches_reference(self, reference: str) -> bool:
        """Return whether ``reference`` is the entry's concept, its label, or a prefix of its digest."""
        is_prefix = len(reference) >= MIN_DIGEST_PREFIX and self.digest.startswith(reference)
        return is_prefix or reference == self.label or reference.casefold() == self.removal.concept.casefold()


def merge_entries(entries: Iterable[LedgerEntry]) -> dict[str, LedgerEntry]:
    """Return the first entry of each digest, with its name withheld if any entry of that digest withholds it."""
    merged: dict[str, LedgerEntry] = {}
    for entry in entries:
        first = merged.setdefault(entry.digest, entry)
        if entry.withhold_name and not first.withhold_name:
            merged[entry.digest] = first.model_copy(update={"withhold_name": True})
    return merged


def entries_from_request(request: EditRequest, label: str = "", since: datetime | None = None) -> list[LedgerEntry]:
    """Return an entry for each removal of a request."""
    return [
        LedgerEntry(
            removal=removal,
            options=request.options,
            label=label,
            since=since,
            withhold_name=request.withhold_names,
        )
        for removal in request.removals
    ]
