"""Dead Simple Signing Envelopes (secure-systems-lab/dsse, protocol.md) with Ed25519.

The signature covers the payload's exact bytes, so no canonical JSON is needed.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from pydantic import ValidationError

from api_schemas.attestation import PAYLOAD_TYPE, Envelope, PublicKey, PublicKeys, Signature, Statement
from editor.publishing.attestation.keys import Signer, load_public_key


def pae(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding (PAE), the bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_statement(statement: Statement, signer: Signer) -> Envelope:
    """Return a statement in a signed envelope."""
    payload = statement.model_dump_json(by_alias=True).encode()
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    signatures = [Signature(keyid=signer.keyid, sig=signature)]
    return Envelope(payload=payload, payload_type=PAYLOAD_TYPE, signatures=signatures)


def to_json_lines(envelopes: Iterable[Envelope]) -> bytes:
    """Return envelopes as JSON lines (in-toto/attestation, spec/v1/bundle.md)."""
    return b"".join(envelope.model_dump_json(by_alias=True).encode() + b"\n" for envelope in envelopes)


def parse_json_lines(content: bytes) -> Iterator[Envelope]:
    """Yield the envelopes in JSON lines. Other lines are ignored, as in-toto requires."""
    for line in content.splitlines():
        try:
            yield Envelope.model_validate_json(line)
        except ValidationError:
            continue


def is_valid_signature(envelope: Envelope, signature: Signature, key: PublicKey) -> bool:
    """Whether the key made the signature of the envelope."""
    try:
        load_public_key(key).verify(signature.sig, pae(envelope.payload_type, envelope.payload))
    except InvalidSignature:
        return False
    return True


def find_signers(envelope: Envelope, keys: PublicKeys) -> list[PublicKey]:
    """Return the keys that signed the envelope, valid or not. Key ids are not trusted: every key is tried."""
    return [
        key
        for key in keys.keys
        if any(is_valid_signature(envelope, signature, key) for signature in envelope.signatures)
    ]


def find_valid_signers(envelope: Envelope, keys: PublicKeys, at: datetime) -> list[PublicKey]:
    """Return the keys that signed the envelope and were valid at a time."""
    return [key for key in find_signers(envelope, keys) if key.is_valid_at(at)]
