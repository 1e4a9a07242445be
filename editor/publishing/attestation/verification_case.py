"""The inputs of a verification. Files are read once; unreadable ones count as absent."""

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
from editor.errors import PublishingError
from editor.publishing.attestation import dsse
from editor.publishing.delta import read_header
from editor.publishing.filenames import ATTESTATION, DELTA, REPORT

PREDICATE_NAMES = {PROVENANCE: "provenance", REMOVAL: "removal"}


@dataclass(frozen=True)
class SignedStatement:
    """An envelope and the statement in it."""

    envelope: Envelope
    statement: Statement

    @property
    def name(self) -> str:
        """The predicate's short name."""
        return PREDICATE_NAMES[self.statement.predicate_type]


@dataclass(frozen=True)
class VerificationCase:
    """A bundle to verify, the trusted keys, and the base model if available."""

    folder: Path
    keys: PublicKeys
    base: Path | None = None
    partial: bool = False
    """Ignore missing files."""

    @cached_property
    def statements(self) -> list[SignedStatement]:
        """The statements of known predicate types. Others are ignored, as in-toto requires."""
        path = self.folder / ATTESTATION
        signed = (
            [parse_envelope(envelope) for envelope in dsse.parse_json_lines(path.read_bytes())]
            if path.is_file()
            else []
        )
        return [one for one in signed if one and one.statement.predicate_type in PREDICATE_NAMES]

    @cached_property
    def removal(self) -> ConceptRemoval | None:
        """Our predicate, or None."""
        bodies = [one.statement.predicate for one in self.statements if one.statement.predicate_type == REMOVAL]
        try:
            return ConceptRemoval.model_validate(bodies[0]) if bodies else None
        except ValidationError:
            return None

    @cached_property
    def digests(self) -> dict[str, str]:
        """Signed file -> sha256; without an attestation, the files that the report lists."""
        signed = {file.name: file.digest.sha256 for one in self.statements for file in one.statement.subject}
        listed = self.report.artifacts if self.report and not self.statements else []
        return signed | {file.name: file.sha256 for file in listed}

    @cached_property
    def base_digests(self) -> dict[str, str]:
        """File of the base model -> signed sha256; without an attestation, as the report lists them."""
        if self.removal:
            return {name: digest.sha256 for name, digest in self.removal.base_files.items()}
        return self.report.model.files if self.report and not self.statements else {}

    @cached_property
    def edited_files(self) -> frozenset[str]:
        """The files of the base model that the delta changes."""
        try:
            return frozenset(read_header(self.folder / DELTA).files)
        except PublishingError:
            return frozenset()

    @cached_property
    def report(self) -> AuditReport | None:
        """The report, or None if it cannot be read."""
        try:
            return AuditReport.model_validate_json((self.folder / REPORT).read_bytes())
        except (OSError, ValidationError):
            return None


def parse_envelope(envelope: Envelope) -> SignedStatement | None:
    """Return the statement in an envelope, or None."""
    if envelope.payload_type != PAYLOAD_TYPE:
        return None
    try:
        return SignedStatement(envelope, Statement.model_validate_json(envelope.payload))
    except ValidationError:
        return None


def ok_or_failed(good: bool) -> Outcome:
    """Return the outcome of a check."""
    return "ok" if good else "failed"
