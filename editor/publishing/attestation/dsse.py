"""Dead Simple Signing Envelopes (secure-systems-lab/dsse, protocol.md), by Ed25519.

The signature covers the payload's bytes as they are, so no canonical form of JSON is needed.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime

from cryptography.exceptions import InvalidSignature
from pydantic import ValidationError

from api_schemas.attestation import PAYLOAD_TYPE, Envelope, PublicKey, PublicKeys, Signature, Statement
from editor.publishing.attestation.keys import Signer, public_key


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(statement: Statement, signer: Signer) -> Envelope:
    """Sign a statement."""
    payload = statement.model_dump_json(by_alias=True).encode()
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    signatures = [Signature(keyid=signer.keyid, sig=signature)]
    return Envelope(payload=payload, payload_type=PAYLOAD_TYPE, signatures=signatures)


def bundle(envelopes: Iterable[Envelope]) -> bytes:
    """JSON lines, one envelope each (in-toto/attestation, spec/v1/bundle.md)."""
    return b"".join(envelope.model_dump_json(by_alias=True).encode() + b"\n" for envelope in envelopes)


def unbundle(content: bytes) -> Iterator[Envelope]:
    """The envelopes of a bundle. Lines that are none are passed over, as in-toto demands."""
    for line in content.splitlines():
        try:
            yield Envelope.model_validate_json(line)
        except ValidationError:
            continue


def holds(envelope: Envelope, signature: Signature, key: PublicKey) -> bool:
    """Whether the key made the signature."""
    try:
        public_key(key).verify(signature.sig, pae(envelope.payload_type, envelope.payload))
    except InvalidSignature:
        return False
    return True


def signers(envelope: Envelope, keys: PublicKeys) -> list[PublicKey]:
    """The keys of the list that signed the envelope, good or not by now. Key ids are not believed: all keys are tried."""
    return [key for key in keys.keys if any(holds(envelope, signature, key) for signature in envelope.signatures)]


def usable_signers(envelope: Envelope, keys: PublicKeys, at: datetime) -> list[PublicKey]:
    """Those whose signature of that time is good."""
    return [key for key in signers(envelope, keys) if key.is_valid_at(at)]
