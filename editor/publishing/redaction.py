"""Redact the names of the removed concepts from a report, for names that are personal data.

Placeholders replace the names in every free text of the report. A salted digest lets the holder of the private report prove
which concept was meant. Weights cannot be redacted: with the base model and the delta anyone can find by trial which prompts
changed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from api_schemas.attacks import Budget
from api_schemas.base import ReportModel
from api_schemas.detectors import DetectorRecord
from api_schemas.feature_scores import Place
from api_schemas.judging import JudgeRecord, SamplerRecord
from api_schemas.report import ArtifactRecord, AuditReport, LedgerRecord, ModelRecord, RemovalRecord, TensorRecord
from editor.io.digests import sha256_hex

UNREDACTED_TYPES: tuple[type[BaseModel], ...] = (
    ModelRecord,
    ArtifactRecord,
    TensorRecord,
    JudgeRecord,
    SamplerRecord,
    Place,
    DetectorRecord,
    Budget,
)
"""Records without text of the request: names of files, tensors and models, and digests."""
UNREDACTED_FIELDS = {
    "job_id", "software", "signed_by", "schema_version", "component", "tensor", "digest", "policy_sha256"
}  # fmt: skip


class PrivateReport(ReportModel):
    """The report with its names, for the party that requested the removal only."""

    salt: str
    """256 random bits, hexadecimal."""
    report: AuditReport
    """The report as it would have been published without redaction, except for its files."""


@dataclass(frozen=True)
class Redactor:
    """Replaces names with placeholders."""

    placeholders: Mapping[str, str]
    """Name in lower case -> placeholder."""

    def redact(self, text: str) -> str:
        """Replace every name that occurs as whole words, in upper or lower case."""
        if not self.placeholders:
            return text
        return self.pattern.sub(lambda match: self.placeholders[match[0].casefold()], text)

    @property
    def pattern(self) -> re.Pattern[str]:
        """Matches every name. Longer names come first, because they may contain shorter ones."""
        ordered = sorted(self.placeholders, key=len, reverse=True)
        return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, ordered))})(?!\w)", re.IGNORECASE)


def redact_report(report: AuditReport, salt: str) -> AuditReport:
    """Return the report to publish."""
    redacted: AuditReport = redact_model(make_redactor(report), report)
    removals = [
        public.model_copy(update={"withheld": salted_digest(salt, removal.concept)})
        for public, removal in zip(redacted.removals, report.removals, strict=True)
    ]
    ledger = redact_ledger(report.ledger, salt) if report.ledger else None
    return redacted.model_copy(update={"removals": removals, "canaries": [], "ledger": ledger})


def salted_digest(salt: str, name: str) -> str:
    """Return the SHA-256 of salt and name. Without the salt, a name cannot be confirmed by guessing."""
    return sha256_hex(bytes.fromhex(salt) + name.encode())


def redact_ledger(record: LedgerRecord, salt: str) -> LedgerRecord:
    """Salt the ledger's digest, which covers names, and number the revoked removals."""
    revoked = [f"[taken back {number}]" for number, _ in enumerate(record.taken_back, 1)]
    return record.model_copy(update={"digest": salted_digest(salt, record.digest), "taken_back": revoked})


def make_redactor(report: AuditReport) -> Redactor:
    """Return a redactor for every name of every removal, and for the replacements that the request names."""
    placeholders: dict[str, str] = {}
    for number, removal in enumerate(report.removals, 1):
        for index, name in enumerate(removal_names(removal), 1):
            placeholder = f"[concept {number}]" if index == 1 else f"[concept {number}, name {index}]"
            placeholders.setdefault(name.casefold(), placeholder)
        if removal.destination_source == "replacement":
            placeholders.setdefault(removal.destination.casefold(), f"[replacement {number}]")
    for number, name in enumerate(report.ledger.taken_back if report.ledger else [], 1):
        placeholders.setdefault(name.casefold(), f"[taken back {number}]")
    return Redactor(placeholders)


def removal_names(removal: RemovalRecord) -> Iterator[str]:
    """Yield each name of a removal once, the concept first."""
    yield from dict.fromkeys([removal.concept, *removal.aliases, *(name.text for name in removal.names)])


def redact_model(redactor: Redactor, model: Any) -> Any:
    """Redact all free texts of a record."""
    if isinstance(model, UNREDACTED_TYPES):
        return model
    fields = type(model).model_fields
    changed = {
        name: redact_value(redactor, getattr(model, name))
        for name, field in fields.items()
        if name not in UNREDACTED_FIELDS and not is_literal(field.annotation)
    }
    return model.model_copy(update=changed)


def redact_value(redactor: Redactor, value: Any) -> Any:
    """Redact the value of a field."""
    match value:
        case str():
            return redactor.redact(value)
        case BaseModel():
            return redact_model(redactor, value)
        case list() | tuple():
            return type(value)(redact_value(redactor, one) for one in value)
        case dict():
            return {redactor.redact(str(key)): redact_value(redactor, one) for key, one in value.items()}
    return value


def is_literal(annotation: Any) -> bool:
    """Whether a field takes one of a few fixed words."""
    return get_origin(annotation) is Literal or any(get_origin(one) is Literal for one in get_args(annotation))
