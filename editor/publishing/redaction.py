"""The report without the names of what was removed: for publishing where a name is somebody's personal data.

Stand-ins take the place of names in every free text of the report; a salted digest lets whoever has the private report show
which concept is meant. Weights can't be redacted: who has base and delta can still find by trial which prompts changed.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from api_schemas.base import ReportModel
from api_schemas.report import AuditReport, LedgerRecord, RemovalRecord

KEPT = {
    "ModelRecord", "ArtifactRecord", "TensorRecord", "JudgeRecord", "SamplerRecord", "Place", "DetectorRecord", "Budget"
}  # fmt: skip
"""Records without words of a request: names of files, tensors and models, digests."""
KEPT_FIELDS = {"job_id", "software", "signed_by", "schema_version", "component", "tensor", "digest", "policy_sha256"}


class PrivateReport(ReportModel):
    """What is withheld: for whoever asked, and nobody else."""

    salt: str
    """Hexadecimal; 256 random bits."""
    report: AuditReport
    """As it would have been published, but for its files."""


@dataclass(frozen=True)
class Cover:
    """Stand-ins for names."""

    names: Mapping[str, str]
    """Name in lower case -> stand-in."""

    def over(self, text: str) -> str:
        """The text with stand-ins for names, as whole words, in upper or lower case."""
        return self.pattern.sub(lambda found: self.names[found[0].casefold()], text) if self.names else text

    @property
    def pattern(self) -> re.Pattern[str]:
        """Longer names first: they may hold shorter ones."""
        ordered = sorted(self.names, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, ordered))})(?!\w)", re.IGNORECASE)


def withheld(report: AuditReport, salt: str) -> AuditReport:
    """The report for the public."""
    covered: AuditReport = cover_model(cover_of(report), report)
    removals = [
        public.model_copy(update={"withheld": salted(salt, removal.concept)})
        for public, removal in zip(covered.removals, report.removals, strict=True)
    ]
    ledger = hidden_ledger(report.ledger, salt) if report.ledger else None
    return covered.model_copy(update={"removals": removals, "canaries": [], "ledger": ledger})


def salted(salt: str, name: str) -> str:
    """SHA-256 of salt and name, in hexadecimal: without the salt nobody can tell by guessing."""
    return hashlib.sha256(bytes.fromhex(salt) + name.encode()).hexdigest()


def hidden_ledger(record: LedgerRecord, salt: str) -> LedgerRecord:
    """A ledger's digest is over names, so it is salted too; what was taken back is counted."""
    gone = [f"[taken back {number}]" for number, _ in enumerate(record.taken_back, 1)]
    return record.model_copy(update={"digest": salted(salt, record.digest), "taken_back": gone})


def cover_of(report: AuditReport) -> Cover:
    """Stand-ins for every name of every removal, and for what takes its place if somebody named that."""
    names: dict[str, str] = {}
    for number, removal in enumerate(report.removals, 1):
        for place, name in enumerate(names_of(removal)):
            names.setdefault(
                name.casefold(), f"[concept {number}]" if not place else f"[concept {number}, name {place + 1}]"
            )
        if removal.destination_source == "replacement":
            names.setdefault(removal.destination.casefold(), f"[replacement {number}]")
    for number, name in enumerate(report.ledger.taken_back if report.ledger else [], 1):
        names.setdefault(name.casefold(), f"[taken back {number}]")
    return Cover(names)


def names_of(removal: RemovalRecord) -> Iterator[str]:
    """The concept first, each name once."""
    yield from dict.fromkeys([removal.concept, *removal.aliases, *(name.text for name in removal.names)])


def cover_model(cover: Cover, model: Any) -> Any:
    """A record with stand-ins in all its free texts."""
    if type(model).__name__ in KEPT:
        return model
    fields = type(model).model_fields
    changed = {
        name: cover_value(cover, getattr(model, name))
        for name, field in fields.items()
        if name not in KEPT_FIELDS and not is_closed(field.annotation)
    }
    return model.model_copy(update=changed)


def cover_value(cover: Cover, value: Any) -> Any:
    """Whatever a field holds."""
    match value:
        case str():
            return cover.over(value)
        case BaseModel():
            return cover_model(cover, value)
        case list() | tuple():
            return type(value)(cover_value(cover, one) for one in value)
        case dict():
            return {cover.over(str(key)): cover_value(cover, one) for key, one in value.items()}
    return value


def is_closed(annotation: Any) -> bool:
    """Whether a field holds one of a few known words."""
    return get_origin(annotation) is Literal or any(get_origin(one) is Literal for one in get_args(annotation))
