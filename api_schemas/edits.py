"""`EditRequest`: the concepts to remove from a model, and how to evaluate the removal."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Literal, TypeAlias

from pydantic import Field, StringConstraints, ValidationInfo, field_validator

from api_schemas.base import Request, field_error
from api_schemas.conflicts import Conflict, LabelledRemoval, find_name_conflicts, find_removed_pins, name_index
from api_schemas.edit_options import EditOptions as EditOptions
from api_schemas.edit_options import MethodName as MethodName
from api_schemas.edit_options import SiteName as SiteName
from api_schemas.removals import Removal as Removal
from api_schemas.validation_options import Thresholds as Thresholds
from api_schemas.validation_options import Validation as Validation


def _label_removals(removals: Sequence[Removal]) -> list[LabelledRemoval]:
    return [LabelledRemoval(f"removals[{i}]", removal) for i, removal in enumerate(removals)]


def _refuse_errors(conflicts: Iterable[Conflict]) -> None:
    """Raise for the first conflict of severity `error`."""
    for conflict in conflicts:
        if conflict.severity == "error":
            raise field_error("contradiction", "{conflict}", conflict.remedy, conflict=conflict.message)


ModelName = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$",
        description="The id of a registered base model, as listed by `GET /v1/models`.",
    ),
]
Priority: TypeAlias = Literal["high", "normal", "low"]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(
        max_length=16,
        description="Your own labels, stored with the job: at most 16 keys of 64 characters with values of 512 characters.",
    ),
]

MAX_REMOVALS = 1000
"""Per request."""


class EditRequest(Request):
    """The body of `POST /v1/edits`."""

    model: ModelName = "emoji"
    removals: list[Removal] = Field(
        min_length=1, max_length=MAX_REMOVALS, description="The concepts to remove, solved jointly."
    )
    ledger: bool = Field(
        default=False,
        description="Add these removals to your ledger of the model until they are revoked. The weights then include every "
        "active removal and form the ledger's next revision.",
    )
    options: EditOptions = EditOptions()
    validation: Validation = Validation()
    withhold_names: bool = Field(
        default=False,
        description="Replace names by placeholders and salted digests in everything that is published; only "
        "`report.private.json` has them. Use it for names that are personal data.",
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="The same request with the same seed gives the same files."
    )
    priority: Priority = Field(
        default="normal", description="Order in which queued jobs start. Running jobs are not interrupted."
    )
    metadata: Metadata = Field(default={})

    @field_validator("removals")
    @classmethod
    def _no_duplicates(cls, removals: list[Removal]) -> list[Removal]:
        ((_, concept), count), *_ = Counter(removal.key for removal in removals).most_common(1)
        if count > 1:
            raise field_error("duplicate", 'names "{concept}" twice', "Name each concept once.", concept=concept)
        return removals

    @field_validator("removals")
    @classmethod
    def _no_contradictions(cls, removals: list[Removal]) -> list[Removal]:
        """Reject removed concepts that are also preserved or used as a replacement."""
        _refuse_errors(find_name_conflicts(_label_removals(removals)))
        return removals

    @field_validator("options")
    @classmethod
    def _pins_name_nothing_removed(cls, options: EditOptions, info: ValidationInfo) -> EditOptions:
        """Reject pinned prompts that name a removed concept."""
        index = name_index(_label_removals(info.data.get("removals", [])))
        for position, pin in enumerate(options.pins):
            _refuse_errors(find_removed_pins(index, position, pin))
        return options

    @field_validator("options")
    @classmethod
    def _fits_ledger(cls, options: EditOptions, info: ValidationInfo) -> EditOptions:
        """Reject options that a ledger does not support: it sums statistics of the original first layer."""
        if info.data.get("ledger") and (options.method != "default" or options.layers not in ([0], [])):
            raise field_error(
                "ledger_options",
                "cannot be combined in a ledger",
                "Leave method out, and name sites by their names or not at all.",
            )
        return options

    def digest(self) -> str:
        """Return `sha256:…` over the canonical JSON, which identifies equal requests."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
