"""DSSE envelopes, compared with the protocol's test vector and with an independent implementation."""

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from securesystemslib import dsse as independent
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, SSlibKey

from api_schemas.attestation import Envelope, PublicKeys
from editor.publishing.attestation.dsse import find_signers, pae, parse_json_lines
from editor.publishing.filenames import ATTESTATION

STATEMENT_FIELDS = {"_type", "subject", "predicateType", "predicate"}


def lines(published: Path) -> list[bytes]:
    return (published / ATTESTATION).read_bytes().splitlines()


def theirs(keys: PublicKeys) -> list[SSlibKey]:
    return [SSlibKey.from_crypto(load_pem_public_key(key.pem.encode()), key.keyid) for key in keys.keys]


def test_pre_authentication_encoding_matches_the_protocol() -> None:
    """The example in protocol.md of the DSSE specification."""
    vector = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == vector


def test_securesystemslib_accepts_our_envelopes(published: Path, keys: PublicKeys) -> None:
    for line in lines(published):
        envelope = independent.Envelope.from_dict(json.loads(line))
        assert envelope.verify(theirs(keys), 1).keys() == {keys.keys[0].keyid}
        statement = json.loads(envelope.payload)
        assert statement.keys() == STATEMENT_FIELDS
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        assert all(
            set(one) == {"name", "digest"} and len(one["digest"]["sha256"]) == 64 for one in statement["subject"]
        )


def test_securesystemslib_rejects_altered_envelopes(published: Path, keys: PublicKeys) -> None:
    raw = json.loads(lines(published)[0])
    payload = base64.b64decode(raw["payload"])
    raw["payload"] = base64.b64encode(payload.replace(b"edit_1", b"edit_2")).decode()
    with pytest.raises(VerificationError):
        independent.Envelope.from_dict(raw).verify(theirs(keys), 1)


def test_envelopes_of_securesystemslib_are_accepted(keys: PublicKeys) -> None:
    private = Ed25519PrivateKey.generate()
    envelope = independent.Envelope(b'{"a": 1}', "application/vnd.in-toto+json", {})
    signer = CryptoSigner(private, SSlibKey.from_crypto(private.public_key(), "anything"))
    envelope.sign(signer)
    ours = Envelope.model_validate(envelope.to_dict())
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    trusted = PublicKeys(keys=[*keys.keys, keys.keys[0].model_copy(update={"keyid": "f" * 64, "pem": pem})])
    assert [key.keyid for key in find_signers(ours, trusted)] == ["f" * 64], (
        "the key id in the envelope does not matter"
    )


def test_lines_of_other_types_are_ignored(published: Path) -> None:
    content = b'not json\n{"payload": "!"}\n' + b"\n".join(lines(published)) + b"\n\n"
    assert len(list(parse_json_lines(content))) == 2
