"""One removal in a ledger."""

import hashlib
import json
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.edits import EditOptions
from api_schemas.edits import Removal as RequestedRemoval

SHORTEST_DIGEST = 8


class Entry(BaseModel):
    """A removal as it was asked for, with the options it was asked with."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    removal: RequestedRemoval
    options: EditOptions = EditOptions()
    label: str = Field(
        "", description="The caller's own reference, a ticket number say. Says nothing about the weights."
    )

    @cached_property
    def digest(self) -> str:
        """sha256 of what was asked, in canonical JSON; the label does not count."""
        asked = [self.removal.model_dump(mode="json"), self.options.model_dump(mode="json")]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def goes_by(self, name: str) -> bool:
        """Whether a person may mean this entry by ``name``: its concept, its label, or a beginning of its digest."""
        short = len(name) >= SHORTEST_DIGEST and self.digest.startswith(name)
        return short or name == self.label or name.casefold() == self.removal.concept.casefold()
