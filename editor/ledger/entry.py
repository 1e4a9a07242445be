"""An entry of a ledger: one removal."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.edits import EditOptions, EditRequest
from api_schemas.edits import Removal as RequestedRemoval
from editor.methods.adjustments import NO_ADJUSTMENTS, SolveAdjustments

MIN_DIGEST_PREFIX, DISPLAY_DIGEST_LENGTH = 8, 12
LATER_FIELDS = frozenset({"exclude_prompts"})
"""Fields that earlier versions did not have. Without them the digests of earlier entries stay as they are."""
FORMER_NAMES = {"method": "preset"}
"""Names of fields in earlier versions. With them the digests of earlier entries stay as they are."""


class SolveParameters(BaseModel):
    """What was found for a removal when it was added. Later solves use it as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: tuple[str, ...] = Field(
        (), description="Automatic replacements, best first. The first that no active removal covers is used."
    )
    adjustments: SolveAdjustments = Field(
        NO_ADJUSTMENTS, description="What the closed loop strengthened and preserved."
    )


class LedgerEntry(BaseModel):
    """A removal as requested, with the options of its request and the parameters that were found for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    removal: RequestedRemoval
    options: EditOptions = Field(EditOptions(sites=[0]), description="Of the request, with its sites named.")
    parameters: SolveParameters = SolveParameters()
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
        """sha256 of the removal, its options and the parameters that were found, in canonical JSON, without label and times."""
        found = [] if self.parameters == SolveParameters() else [self.parameters]
        return canonical_digest([self.removal, self.options, *found])

    @cached_property
    def requested_digest(self) -> str:
        """sha256 of the removal and its options. Entries of one digest are the same removal."""
        return canonical_digest([self.removal, self.options])

    def with_changes(self, **changes: Any) -> "LedgerEntry":
        """Return the entry with other values of some fields; the entry itself if nothing changes."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return self if values | changes == values else LedgerEntry(**values | changes)

    @property
    def edits_denoiser(self) -> bool:
        """Whether the removal is also solved at sites of the denoiser."""
        return bool(self.options.denoiser_sites)

    @property
    def name(self) -> str:
        """Unique name in conflict messages, with the caller's own reference."""
        short = self.digest[:DISPLAY_DIGEST_LENGTH]
        return f"{self.label} ({short})" if self.label else short

    def matches_reference(self, reference: str) -> bool:
        """Return whether ``reference`` is the entry's concept, its label, or a prefix of its digest."""
        is_prefix = len(reference) >= MIN_DIGEST_PREFIX and self.digest.startswith(reference)
        return is_prefix or reference == self.label or reference.casefold() == self.removal.concept.casefold()


def canonical_digest(parts: Iterable[BaseModel]) -> str:
    """Return the sha256 of values in canonical JSON. Fields that were added later are left out if they have their default."""
    dumps = [part.model_dump(mode="json", exclude=_unused_later_fields(part)) for part in parts]
    plain = [{FORMER_NAMES.get(name, name): value for name, value in dump.items()} for dump in dumps]
    return hashlib.sha256(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _unused_later_fields(part: BaseModel) -> set[str]:
    return {name for name in LATER_FIELDS if not getattr(part, name, None)}


def merge_entries(entries: Iterable[LedgerEntry]) -> dict[str, LedgerEntry]:
    """Return the first entry of each removal, by digest, with the parameters that were found last.

    Its name is withheld if any of them withholds it.
    """
    merged: dict[str, LedgerEntry] = {}
    for entry in entries:
        first = merged.get(entry.requested_digest, entry)
        merged[entry.requested_digest] = first.with_changes(
            parameters=entry.parameters, withhold_name=first.withhold_name or entry.withhold_name
        )
    return {entry.digest: entry for entry in merged.values()}


def entries_from_request(
    request: EditRequest,
    options: EditOptions,
    label: str = "",
    since: datetime | None = None,
    candidates: Sequence[tuple[str, ...]] = (),
) -> list[LedgerEntry]:
    """Return an entry for each removal of a request.

    Args:
        request: the request.
        options: its options, with the sites named that they stand for in the model.
        label: the caller's reference for the request.
        since: when it was made.
        candidates: the automatic replacements of each removal.
    """
    return [
        LedgerEntry(
            removal=removal,
            options=options,
            label=label,
            since=since,
            withhold_name=request.withhold_names,
            parameters=SolveParameters(candidates=names),
        )
        for removal, names in zip(request.removals, candidates or [() for _ in request.removals], strict=True)
    ]
