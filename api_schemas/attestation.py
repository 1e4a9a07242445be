"""What is signed and what a verifier finds: in-toto statements, DSSE envelopes, public keys, outcomes.

Shapes: in-toto Statement v1 (in-toto/attestation, spec/v1/statement.md), SLSA provenance v1
(slsa.dev/spec/v1.0/provenance), DSSE v1 (secure-systems-lab/dsse, envelope.md). Names are theirs, in camel case.
"""

import base64
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

PAYLOAD_TYPE = "application/vnd.in-toto+json"
PROVENANCE = "https://slsa.dev/provenance/v1"
REMOVAL = "urn:expunge:predicate:concept-removal:v1"
BUILD_TYPE = "urn:expunge:build:edit:v1"


def _decode_base64(value: Any) -> Any:
    """Base64 in either alphabet, as DSSE allows; bytes as they are."""
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
    """Base of all that is signed: immutable, in camel case. Unknown fields are ignored, as in-toto demands."""

    model_config = ConfigDict(extra="ignore", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Digest(SignedModel):
    """in-toto's digest set, with the one algorithm that is used here."""

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
    """DSSE: a signature over the envelope's payload. The key's id is a hint, never a proof."""

    keyid: str = ""
    sig: Base64


class Envelope(SignedModel):
    """DSSE v1."""

    payload: Base64
    payload_type: str
    signatures: list[Signature] = Field(min_length=1)


class SignedRemoval(SignedModel):
    """A removed concept. The digest is salted where names are withheld, so that nobody can guess it."""

    kind: Literal["object", "style"]
    digest: Digest
    concept: str | None = Field(description="Null where names are withheld.")


class SignedTensor(SignedModel):
    """A tensor that was replaced; digests of its bytes as the files hold them."""

    component: str
    name: str
    base: Digest
    edited: Digest


class SignedGate(SignedModel):
    """A threshold and what came of it. Numbers are decimal strings: they mean the same to every reader."""

    name: str
    removal: int | None
    comparator: Literal["<=", ">="]
    threshold: str
    measured: str
    sample_size: int
    outcome: str


class ConceptRemoval(SignedModel):
    """Our predicate, version 1: what was removed from what, and how it was judged."""

    job_id: str
    created_at: datetime
    base_model: str
    base_files: dict[str, Digest]
    removals: list[SignedRemoval]
    tensors: list[SignedTensor]
    policy: Digest | None = Field(description="Of the gates as they were fixed before the run; null: not validated.")
    gates: list[SignedGate]
    verdict: str | None
    assurance_level: Literal["self_attested"] = "self_attested"
    non_claims: list[str] = Field(description="What this does not cover, and what was not tested.")


class PublicKey(SignedModel):
    """An Ed25519 key that signs, or used to."""

    keyid: Sha256 = Field(description="SHA-256 of the key's SubjectPublicKeyInfo.")
    algorithm: Literal["ed25519"] = "ed25519"
    pem: str
    not_before: AwareDatetime
    not_after: AwareDatetime | None = Field(None, description="Signs nothing from then on; what it signed stays good.")
    revoked_at: AwareDatetime | None = Field(None, description="Nothing that it signed is good any more, whenever.")

    def is_valid_at(self, at: datetime) -> bool:
        """Whether a signature made then is good."""
        ended = self.not_after is not None and at >= self.not_after
        return self.revoked_at is None and self.not_before <= at and not ended


class PublicKeys(SignedModel):
    """The rotation list: what `expunge keys export` writes and `expunge verify --keys` reads."""

    keys: list[PublicKey]

    def find(self, keyid: str) -> PublicKey | None:
        """The key of that id."""
        return next((key for key in self.keys if key.keyid == keyid), None)


Outcome = Literal["ok", "failed", "skipped"]


class Finding(BaseModel):
    """One thing that was checked."""

    model_config = ConfigDict(frozen=True)

    check: Literal["attestation", "signature", "file", "report", "policy", "gate", "base", "delta", "names"]
    outcome: Outcome
    about: str = Field(description="The file, gate or key in question; empty where the check is about the whole.")
    detail: str


class Verification(BaseModel):
    """What `expunge verify --json` prints."""

    model_config = ConfigDict(frozen=True)

    ok: bool = Field(description="No check failed.")
    signed_by: list[str] = Field(description="Ids of the trusted keys whose signatures hold.")
    findings: list[Finding]
