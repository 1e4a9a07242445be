"""Webhook signatures, verified by the specification's own library and another Ed25519 implementation."""

import base64
from datetime import UTC, datetime

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from service.webhooks.signing import WebhookSigner

BODY = b'{"type": "edit.succeeded"}'


def headers(signer: WebhookSigner) -> dict[str, str]:
    return signer.headers("msg_1", datetime.now(UTC), BODY)


def test_hmac_signature_is_verified_by_standardwebhooks() -> None:
    signer = WebhookSigner.new()
    assert Webhook(signer.secret).verify(BODY, headers(signer)) == {"type": "edit.succeeded"}


def test_changed_body_secret_or_id_fails_verification() -> None:
    signer = WebhookSigner.new()
    for secret, body, changed in (
        (WebhookSigner.new().secret, BODY, {}),
        (signer.secret, BODY + b" ", {}),
        (signer.secret, BODY, {"webhook-id": "msg_2"}),
    ):
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, headers(signer) | changed)


def test_ed25519_signature_is_verified() -> None:
    signer = WebhookSigner.new()
    signed = headers(signer)
    (signature,) = (part for part in signed["webhook-signature"].split() if part.startswith("v1a,"))
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(signer.public_key.removeprefix("whpk_")))
    content = f"{signed['webhook-id']}.{signed['webhook-timestamp']}.".encode() + BODY
    key.verify(base64.b64decode(signature.removeprefix("v1a,")), content)
    with pytest.raises(InvalidSignature):
        key.verify(base64.b64decode(signature.removeprefix("v1a,")), content + b" ")
