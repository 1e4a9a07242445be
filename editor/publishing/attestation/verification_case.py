"""What is verified, and against what; read once, as far as it can be read."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from api_schemas.attestation import (
    PAYLOAD_TYPE,
    PROVENANCE,
    REMOVAL,
    ConceptRemoval,
    Envelope,
    Outcome,
    PublicKeys,
    Statement,
)
from api_schemas.report import AuditReport
from editor.publishing.attestation import dsse
from editor.publishing.filenames import ATTESTATION, REPORT

KINDS = {PROVENANCE: "provenance", REMOVAL: "removal"}


@dataclass(frozen=True)
class Attested:
    """An envelope of ours and the statement in it."""

    envelope: Envelope
    statement: Statement

    @property
    def name(self) -> str:
        """Which of the two it is."""
        return KINDS[self.statement.predicate_type]


@dataclass(frozen=True)
class Case:
    """What is verified, and against what."""

    folder: Path
    keys: PublicKeys
    base: Path | None = None
    partial: bool = False
    """Files that are not there don't count."""

    @cached_property
    def attested(self) -> list[Attested]:
        """Statements of the kinds that we know; the others are passed over, as in-toto demands."""
        path = self.folder / ATTESTATION
        found = [attested(envelope) for envelope in dsse.unbundle(path.read_bytes())] if path.is_file() else []
        return [one for one in found if one and one.statement.predicate_type in KINDS]

    @cached_property
    def removal(self) -> ConceptRemoval | None:
        """Our predicate, if it is there."""
        bodies = [one.statement.predicate for one in self.attested if one.statement.predicate_type == REMOVAL]
        try:
            return ConceptRemoval.model_validate(bodies[0]) if bodies else None
        except ValidationError:
            return None

    @cached_property
    def digests(self) -> dict[str, str]:
        """SignedModel file -> sha256; where nothing is signed, what the report lists."""
        signed = {file.name: file.digest.sha256 for one in self.attested for file in one.statement.subject}
        listed = self.report.artifacts if self.report and not self.attested else []
        return signed | {file.name: file.sha256 for file in listed}

    @cached_property
    def report(self) -> AuditReport | None:
        """The report, if it can be read."""
        try:
            return AuditReport.model_validate_json((self.folder / REPORT).read_bytes())
        except (OSError, ValidationError):
            return None


def attested(envelope: Envelope) -> Attested | None:
    """What an envelope holds; None where that is no statement."""
    if envelope.payload_type != PAYLOAD_TYPE:
        return None
    try:
        return Attested(envelope, Statement.model_validate_json(envelope.payload))
    except ValidationError:
        return None


def outcome(good: bool) -> Outcome:
    """As a word."""
    return "ok" if good else "failed"
