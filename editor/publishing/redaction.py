"""Redact the names of the removed concepts from a report, for names that are personal data.

Placeholders replace the names in every free text of the report. A salted digest lets the holder of the private report prove
which concept was meant. Weights cannot be redacted: with the base model and the delta anyone can find by trial which prompts
changed.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel

from api_schemas.attacks import AttackRecord, Attempt, Budget
from api_schemas.base import ReportModel
from api_schemas.detectors import DetectorRecord
from api_schemas.feature_scores import Place
from api_schemas.judging import JudgeRecord, SamplerRecord
from api_schemas.report import (
    ArtifactRecord,
    AuditReport,
    LedgerRecord,
    ModelRecord,
    ProfileRecord,
    RemovalRecord,
    TensorRecord,
)
from editor.io.digests import salted_digest

UNREDACTED_TYPES: tuple[type[BaseModel], ...] = (
    ModelRecord,
    ProfileRecord,
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
    """Name -> placeholder."""

    def redact(self, text: str) -> str:
        """Replace every name that occurs as whole words, whatever its case, accents, and separators of words."""
        if not self.by_letters:
            return text
        folded, origins = fold(text)
        pieces, end = [], 0
        for match in self.pattern.finditer(folded):
            pieces += [text[end : origins[match.start()]], self.by_letters[join_words(match[0])]]
            end = max(origins[match.end()], origins[match.end() - 1] + 1)
        return "".join(pieces) + text[end:]

    @cached_property
    def by_letters(self) -> dict[str, str]:
        """The placeholder of each folded name, without separators. The first of two equal names counts."""
        found: dict[str, str] = {}
        for name, placeholder in self.placeholders.items():
            found.setdefault(join_words(fold(name)[0]), placeholder)
        return {letters: placeholder for letters, placeholder in found.items() if letters}

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Matches every folded name. Longer names come first, because they may contain shorter ones."""
        ordered = sorted({fold(name)[0] for name in self.placeholders}, key=len, reverse=True)
        return re.compile("|".join(name_pattern(name) for name in ordered if join_words(name)))


SEPARATORS = r"[\s\-_\u2010-\u2015]"


def fold(text: str) -> tuple[str, list[int]]:
    """Fold case and compatibility forms, and drop accents and invisible characters: ``"Weiß"`` -> ``"weiss"``.

    Returns:
        The folded text, and for each of its characters and its end the position in ``text``.
    """
    letters = [
        (letter, position)
        for position, original in enumerate(text)
        for part in unicodedata.normalize("NFKD", original)
        for letter in unicodedata.normalize("NFKD", part.casefold())
        if unicodedata.category(letter) not in {"Mn", "Me", "Cf"}
    ]
    return "".join(letter for letter, _ in letters), [*(position for _, position in letters), len(text)]


def join_words(folded: str) -> str:
    """Remove the separators of words: ``"hot dog"`` -> ``"hotdog"``."""
    return re.sub(SEPARATORS, "", folded)


def name_pattern(folded: str) -> str:
    """Return a pattern of a name with any separators, as whole words. Scripts without spaces have no word boundaries."""
    words = [re.escape(word) for word in re.split(f"{SEPARATORS}+", folded) if word]
    first, last = words[0][0], words[-1][-1]
    before = r"(?<!\w)" if has_word_boundaries(first) else ""
    return before + f"{SEPARATORS}*".join(words) + (r"(?!\w)" if has_word_boundaries(last) else "")


def has_word_boundaries(letter: str) -> bool:
    """Whether words in the script of a letter are delimited: scripts with case, and digits."""
    return unicodedata.category(letter) in {"Ll", "Lu", "Nd"}


def redact_report(report: AuditReport, salt: str) -> AuditReport:
    """Return the report to publish."""
    redacted: AuditReport = redact_model(make_redactor(report), report)
    removals = [
        public.model_copy(update={"withheld": salted_digest(salt, removal.concept), "candidates": []})
        for public, removal in zip(redacted.removals, report.removals, strict=True)
    ]
    changed = {
        "removals": removals,
        "canaries": [],
        "ledger": redact_ledger(report.ledger, salt) if report.ledger else None,
        "attacks": [redact_attempts(record) for record in redacted.attacks],
        "traces": [trace.model_copy(update={"by_word": None}) for trace in redacted.traces],  # a word is part of a name
    }
    return redacted.model_copy(update=changed)


def redact_attempts(record: AttackRecord) -> AttackRecord:
    """Number the attempts of an attack: their prompts are misspelled or fragmented names, which no list of names covers."""

    def numbered(number: int, attempt: Attempt) -> Attempt:
        return attempt.model_copy(update={"what": f"[attempt {number}]"})

    attempts = [numbered(number, attempt) for number, attempt in enumerate(record.attempts, 1)]
    strongest = attempts[record.attempts.index(record.strongest)] if record.strongest in record.attempts else None
    return record.model_copy(update={"attempts": attempts, "strongest": strongest})


def redact_ledger(record: LedgerRecord, salt: str) -> LedgerRecord:
    """Salt the ledger's digest, which covers names, and number the revoked removals."""
    revoked = [f"[taken back {number}]" for number, _ in enumerate(record.taken_back, 1)]
    return record.model_copy(update={"digest": salted_digest(salt, record.digest), "taken_back": revoked})


def make_redactor(report: AuditReport) -> Redactor:
    """Return a redactor for every name of every removal, and for the replacements that are named or chosen."""
    placeholders: dict[str, str] = {}
    for number, removal in enumerate(report.removals, 1):
        for index, name in enumerate(removal_names(removal), 1):
            placeholder = f"[concept {number}]" if index == 1 else f"[concept {number}, name {index}]"
            placeholders.setdefault(name, placeholder)
        if removal.destination_source in ("replacement", "auto"):
            placeholders.setdefault(removal.destination, f"[replacement {number}]")
    for number, name in enumerate(report.ledger.taken_back if report.ledger else [], 1):
        placeholders.setdefault(name, f"[taken back {number}]")
    return Redactor(placeholders)


def removal_names(removal: RemovalRecord) -> Iterator[str]:
    """Yield each name of a removal once, the concept first."""
    names = (name.text for name in (*removal.names, *removal.uncovered_names))
    yield from dict.fromkeys([removal.concept, *removal.aliases, *names])


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
