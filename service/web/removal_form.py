"""The form of a removal: its values as people type them, and the request that they make."""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import FormData

from api_schemas.batches import CSV_COLUMNS
from api_schemas.edits import EditRequest, Removal
from api_schemas.plans import Plan, PlannedRemoval
from api_schemas.problems import InvalidField, invalid_fields
from service.core.csv_removals import MULTI_VALUE_COLUMNS, NO_REPLACEMENT, VALUE_SEPARATOR
from service.errors import InvalidRequest, ServiceError
from service.web.filters import as_sentence

AUTOMATIC, NAMED, NOTHING = "automatic", "named", "nothing"
"""What prompts for the concept map to: a replacement that is chosen, the one that is named, or nothing."""
AUTO = "auto"
"""The replacement of a request that is chosen automatically."""
POLICIES = {"": "Default thresholds", "by-kind": "By kind of concept", "strict": "Strict, for takedowns"}
"""Policies by name; the first one is that of the service."""
KIND_LABELS = {
    "object": "Object or animal",
    "style": "Style or artist",
    "person": "Real person",
    "character": "Fictional character",
    "brand": "Brand or logo",
    "unsafe": "Unsafe content",
}
"""What people call the kinds of concepts."""
_SEPARATORS = re.compile(r"[\n,;]")
_FIELD_OF_REMOVAL = re.compile(r"removals\[\d+\]\.(\w+)")


class RemovalForm(BaseModel):
    """The values of the form. Lists are text with an entry a line."""

    model_config = ConfigDict(extra="ignore")

    model: str = "emoji"
    concept: str = ""
    kind: str = "object"
    becomes: str = AUTOMATIC
    replacement: str = ""
    aliases: str = ""
    preserve: str = ""
    policy: str = ""
    seeds: str = "1"
    ledger: bool = False
    withhold_names: bool = False
    excluded: list[str] = []
    """Names that the dry run found and that were unticked."""
    excluded_prompts: list[str] = []
    """Prompts that the dry run listed and that were unticked."""

    @classmethod
    def from_form(cls, form: FormData) -> "RemovalForm":
        """Read a form that was sent."""
        values = {name: value for name, value in form.items() if isinstance(value, str)}
        unticked = {
            "excluded": _unticked(form, "name", "offered"),
            "excluded_prompts": _unticked(form, "prompt", "offered_prompt"),
        }
        ticked = {name: name in form for name in ("ledger", "withhold_names")}
        return cls.model_validate(values | ticked | unticked)

    @classmethod
    def from_request(cls, request: EditRequest) -> "RemovalForm":
        """Return the form that makes an earlier request with one removal again."""
        (removal,) = request.removals
        return cls(
            model=request.model,
            concept=removal.concept,
            kind=removal.kind,
            becomes=_becomes(removal),
            replacement=removal.replacement if removal.replacement and _becomes(removal) == NAMED else "",
            aliases="\n".join(removal.aliases),
            preserve="\n".join(removal.preserve),
            policy=request.validation.policy or "",
            seeds=str(request.validation.seeds),
            ledger=request.ledger,
            withhold_names=request.withhold_names,
            excluded=removal.exclude,
            excluded_prompts=removal.exclude_prompts,
        )

    def request(self, earlier: EditRequest | None = None) -> EditRequest:
        """Return the request. What the form does not show is that of the earlier request. Raises `InvalidRequest`."""
        base: dict[str, Any] = earlier.model_dump(mode="json") if earlier else {"removals": [{}]}
        (removal,) = base["removals"]
        validation = base.get("validation", {}) | {"seeds": _number(self.seeds), "policy": self.policy or None}
        return parse_request(
            base
            | {
                "model": self.model,
                "removals": [removal | self._removal(removal)],
                "ledger": self.ledger,
                "withhold_names": self.withhold_names,
                "validation": validation,
            }
        )

    def _removal(self, earlier: Mapping[str, Any]) -> dict[str, Any]:
        earlier_class = earlier.get("generic")
        generic = {AUTOMATIC: earlier_class, NAMED: earlier_class}
        automatic = None if earlier_class and earlier["replacement"] is None else AUTO  # both are the class
        return {
            "concept": self.concept,
            "kind": self.kind,
            "replacement": {NAMED: self.replacement.strip() or None, AUTOMATIC: automatic}.get(self.becomes),
            "generic": generic.get(self.becomes),
            "aliases": _entries(self.aliases),
            "preserve": _entries(self.preserve),
            "exclude": self.excluded,
            "exclude_prompts": self.excluded_prompts,
        }

    def offered_names(self, plan: Plan | None) -> list[tuple[str, str, bool]]:
        """Return each expanded name with its source and whether it is ticked."""
        removals: Sequence[PlannedRemoval] = plan.removals if plan else ()
        found = [(name.text, str(name.source), True) for removal in removals for name in removal.names]
        known = {name for name, _, _ in found}
        return found + [(name, "excluded", False) for name in self.excluded if name not in known]


def _unticked(form: FormData, ticked: str, offered: str) -> list[str]:
    """Return what a form offered in hidden fields and sent back without its tick."""
    kept = set(form.getlist(ticked))
    return list(dict.fromkeys(one for one in form.getlist(offered) if one not in kept and isinstance(one, str)))


def _becomes(removal: Removal) -> str:
    """Return what prompts for the concept of a removal map to."""
    if removal.replacement == AUTO:
        return AUTOMATIC
    return NAMED if removal.replacement else AUTOMATIC if removal.generic else NOTHING


def parse_request(values: Mapping[str, Any]) -> EditRequest:
    """Return the request. Raises `InvalidRequest` with the fields that are wrong."""
    try:
        return EditRequest.model_validate(values)
    except ValidationError as error:
        raise InvalidRequest("The form is not complete.", errors=invalid_fields(error.errors())) from error


def field_errors(error: ServiceError | None) -> dict[str, str]:
    """Return the message for each field of the form, or an empty one. Messages about other fields are under an empty name."""
    found = dict.fromkeys([*RemovalForm.model_fields, ""], "")
    for invalid in error.errors if error else ():
        name = _form_field(invalid)
        found[name] = found[name] or (f"{as_sentence(invalid.message)} {invalid.remedy}".strip())
    return found


def _form_field(invalid: InvalidField) -> str:
    named = _FIELD_OF_REMOVAL.match(invalid.field)
    name = named[1] if named else invalid.field.rpartition(".")[2]
    return name if name in RemovalForm.model_fields else ""


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in _SEPARATORS.split(text) if entry.strip()]


def _number(text: str) -> int | str:
    """Return the number, or the text for the message that it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else text


def to_csv(removals: Iterable[Removal]) -> str:
    """Return removals as the CSV that a batch accepts."""
    dumped = [removal.model_dump(mode="json", include=set(CSV_COLUMNS)) for removal in removals]
    rows = [{name: _cell(name, value) for name, value in row.items()} for row in dumped]
    columns = [name for name in CSV_COLUMNS if name == "concept" or any(row[name] for row in rows)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row[name] for name in columns] for row in rows)
    return out.getvalue()


def _cell(name: str, value: Any) -> str:
    if name == "replacement" and value in (AUTO, None):
        return NO_REPLACEMENT if value is None else ""  # the default of a batch
    return VALUE_SEPARATOR.join(value) if name in MULTI_VALUE_COLUMNS else str(value or "")
