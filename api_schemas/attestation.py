"""What is signed and what a verifier reports: in-toto statements, DSSE envelopes, public keys, verification results.

Formats: in-toto Statement v1 (in-toto/attestation, spec/v1/statement.md), SLSA provenance v1
(slsa.dev/spec/v1.0/provenance), DSSE v1 (secure-systems-lab/dsse, envelope.md), with their field names in camel case.
"""

import base64
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

from api_schemas.kinds import ConceptKind

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PROVENANCE = "https://slsa.dev/provenance/v1"
REMOVAL = "urn:expunge:predicate:concept-removal:v1"
FLEET = "urn:expunge:predicate:fleet:v1"
BUILD_TYPE = "urn:expunge:build:edit:v1"


def _decode_base64(value: Any) -> Any:
    """Decode standard or URL-safe base64, as DSSE requires. Bytes are returned unchanged."""
    if not isinstance(value, str):
        return value
    return base64.b64decode(value.replace("-", "+").replace("_", "/"), validate=True)


Base64 = Annotated[
    bytes,
    BeforeValidator(_decode_base64),
    PlainSerializer(lambda content: base64.b64encode(content).decode(), return_type=str, when_used="json"),
]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class SignedModel(BaseModel):
    """Base of the signed models: immutable, camel case. Unknown fields are ignored, as in-toto requires."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Digest(SignedModel):
    """An in-toto digest set with SHA-256 only."""

    sha256: Sha256


class Subject(SignedModel):
    """A published file."""

    name: str
    digest: Digest


class Statement(SignedModel):
    """An in-toto Statement v1."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field("https://in-toto.io/Statement/v1", alias="_type")
    subject: list[Subject] = Field(min_length=1)
    predicate_type: str
    predicate: dict[str, Any]


class Signature(SignedModel):
    """A DSSE signature. The key id is a hint, not a proof."""

    keyid: str = ""
    sig: Base64


class Envelope(SignedModel):
    """A DSSE v1 envelope."""

    payload: Base64
    payload_type: str
    signatures: list[Signature] = Field(min_length=1)


class SignedRemoval(SignedModel):
    """A removed concept. If names are withheld, the digest is salted, so that the name cannot be guessed."""

    kind: ConceptKind
    digest: Digest
    concept: str | None = Field(description="Null if names are withheld.")


class SignedTensor(SignedModel):
    """A replaced tensor, with the digests of its bytes in the files."""

    component: str
    name: str
    base: Digest
    edited: Digest


class SignedGate(SignedModel):
    """A gate and its outcome. Numbers are decimal strings, so that every reader gets the same value."""

    name: str
    removal: int | None
    comparator: Literal["<=", ">="]
    threshold: str
    measured: str
    sample_size: int
    outcome: str


class ConceptRemoval(SignedModel):
    """Version 1 of the predicate: what was removed from which model, and how the removal was evaluated."""

    job_id: str
    created_at: datetime
    base_model: str
    base_files: dict[str, Digest]
    removals: list[SignedRemoval]
    tensors: list[SignedTensor]
    policy: Digest | None = Field(
        description="Digest of the gates, which are fixed before the run; null: not validated."
    )
    gates: list[SignedGate]
    verdict: str | None
    assurance_level: Literal["self_attested"] = "self_attested"
    non_claims: list[str] = Field(description="What the attestation does not cover, and what was not tested.")


class SignedTarget(SignedModel):
    """A model of a fleet, and what became of it."""

    model: str
    state: str
    edit: str | None
    revision: int | None
    application: str | None = Field(
        description="`solved` for this model, or `carried` over from `carried_from`; null: it has no edit."
    )
    carried_from: str | None
    verdict: str | None = Field(
        description="Verdict of the edit, or of the one it was carried from; null: not validated, no image was judged."
    )
    revocation: str | None = Field(description="The job that revoked the edit.")
    encoders: dict[str, str] = Field(description="Digest of each text encoder of the base model.")


class FleetRemoval(SignedModel):
    """Version 1 of the predicate of a fleet: which models one decision reached, and how."""

    fleet: str
    created_at: datetime
    signed_at: datetime
    selector: dict[str, Any]
    removals: list[SignedRemoval]
    targets: list[SignedTarget]


class PublicKey(SignedModel):
    """An Ed25519 public key, current or retired."""

    keyid: Sha256 = Field(description="SHA-256 of the key's SubjectPublicKeyInfo.")
    algorithm: Literal["ed25519"] = "ed25519"
    pem: str
    not_before: AwareDatetime
    not_after: AwareDatetime | None = Field(
        None, description="The key signs nothing after this time; earlier signatures stay valid."
    )
    revoked_at: AwareDatetime | None = Field(
        None, description="All signatures of a revoked key are invalid, whenever they were made."
    )

    def is_valid_at(self, at: datetime) -> bool:
        """Return whether a signature made at this time is valid."""
        ended = self.not_after is not None and at >= self.not_after
        return self.revoked_at is None and self.not_before <= at and not ended


class PublicKeys(SignedModel):
    """The list of signing keys that `expunge keys export` writes and `expunge verify --keys` reads."""

    keys: list[PublicKey]

    def find(self, keyid: str) -> PublicKey | None:
        """Return the key with this id, or None."""
        return next((key for key in self.keys if key.keyid == keyid), None)


Outcome = Literal["ok", "failed", "skipped", "unknown"]
"""`skipped`: there was nothing to compare with; `unknown`: a file that nobody signed."""


class Finding(BaseModel):
    """The result of one check."""

    model_config = ConfigDict(frozen=True)

    check: Literal["attestation", "signature", "file", "report", "policy", "gate", "base", "delta", "names"]
    outcome: Outcome
    about: str = Field(description="The file, gate or key that was checked; empty if the check covers the whole.")
    detail: str


class Verification(BaseModel):
    """The output of `expunge verify --json`."""

    model_config = ConfigDict(frozen=True)

    ok: bool = Field(description="No check failed, and every file is signed.")
    signed_by: list[str] = Field(description="Ids of the trusted keys with a valid signature.")
    findings: list[Finding]
