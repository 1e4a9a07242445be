"""Envelopes and public keys on the wire."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from api_schemas.attestation import Envelope, PublicKey, Statement

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = PublicKey(keyid="a" * 64, pem="", not_before=NOW)
DAY = timedelta(days=1)


@given(payload=st.binary(), signature=st.binary(), urlsafe=st.booleans())
def test_base64_round_trips_in_both_alphabets(payload: bytes, signature: bytes, urlsafe: bool) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    raw = {
        "payload": encode(payload).decode(),
        "payloadType": "t",
        "signatures": [{"keyid": "k", "sig": encode(signature).decode()}],
    }
    envelope = Envelope.model_validate(raw)
    assert (envelope.payload, envelope.signatures[0].sig) == (payload, signature)
    written = json.loads(envelope.model_dump_json(by_alias=True))
    assert base64.b64decode(written["payload"], validate=True) == payload
    assert written.keys() == raw.keys()


@pytest.mark.parametrize("payload", ["!", "abc", "a b=="])
def test_invalid_base64_is_rejected(payload: str) -> None:
    with pytest.raises(ValidationError):
        Envelope.model_validate({"payload": payload, "payloadType": "t", "signatures": [{"sig": ""}]})


def test_envelope_without_signatures_is_rejected() -> None:
    with pytest.raises(ValidationError):
        Envelope.model_validate({"payload": "", "payloadType": "t", "signatures": []})


def test_unknown_fields_are_ignored() -> None:
    raw = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "a", "digest": {"sha256": "0" * 64, "sha512": "?"}, "uri": "x"}],
        "predicateType": "p",
        "predicate": {"new": 1},
        "extra": True,
    }
    statement = Statement.model_validate(raw)
    assert statement.predicate == {"new": 1}
    assert Statement.model_validate_json(statement.model_dump_json(by_alias=True)) == statement


@pytest.mark.parametrize(
    ("changes", "at", "usable"),
    [
        ({}, NOW, True),
        ({}, NOW - DAY, False),
        ({"not_after": NOW + DAY}, NOW, True),
        ({"not_after": NOW + DAY}, NOW + DAY, False),
        ({"revoked_at": NOW + DAY}, NOW, False),
    ],
)
def test_key_validity_period(changes: dict[str, datetime], at: datetime, usable: bool) -> None:
    assert KEY.model_copy(update=changes).is_valid_at(at) is usable


def test_naive_datetime_is_rejected() -> None:
    with pytest.raises(ValidationError):
        PublicKey(keyid="a" * 64, pem="", not_before=datetime(2026, 1, 1))  # noqa: DTZ001
