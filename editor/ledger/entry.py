"""One removal in a ledger."""

import hashlib
import json
from datetime import datetime
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.edits import EditOptions, EditRequest
from api_schemas.edits import Removal as RequestedRemoval

SHORTEST_DIGEST, SHOWN_DIGEST = 8, 12


class Entry(BaseModel):
    """A removal as it was asked for, with the options it was asked with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    removal: RequestedRemoval
    options: EditOptions = EditOptions()
    label: str = Field(
        "", description="The caller's own reference, a ticket number say. Says nothing about the weights."
    )
    since: datetime | None = Field(None, description="When it came; nor does this.")
    until: datetime | None = Field(None, description="When it went, for one that was revoked.")

    @cached_property
    def digest(self) -> str:
        """sha256 of what was asked, in canonical JSON; label and times do not count."""
        asked = [self.removal.model_dump(mode="json"), self.options.model_dump(mode="json")]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    @property
    def name(self) -> str:
        """What conflicts call it: unlike any other, and with the caller's own reference."""
        short = self.digest[:SHOWN_DIGEST]
        return f"{self.label} ({short})" if self.label else short

    def goes_by(self, name: str) -> bool:
        """Whether a person may mean this entry by ``name``: its concept, its label, or a beginning of its digest."""
        short = len(name) >= SHORTEST_DIGEST and self.digest.startswith(name)
        return short or name == self.label or name.casefold() == self.removal.concept.casefold()


def entries_of(request: EditRequest, label: str = "", since: datetime | None = None) -> list[Entry]:
    """A request's removals, each with the options that it was asked with."""
    return [Entry(removal=removal, options=request.options, label=label, since=since) for removal in request.removals]
