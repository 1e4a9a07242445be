"""Signatures of Standard Webhooks 1.0.0: `v1` (HMAC-SHA256 with a shared secret) and `v1a` (Ed25519).

Every message has both; a receiver checks either. The signed content is `{id}.{seconds}.{body}`.
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.store.encryption import SecretBox
from service.store.orm import WebhookEndpoint

SECRET_BYTES = 32
SECRET_PREFIX, PRIVATE_KEY_PREFIX, PUBLIC_KEY_PREFIX = "whsec_", "whsk_", "whpk_"


@dataclass(frozen=True)
class WebhookSigner:
    """The signing keys of an endpoint, in the encodings of the specification."""

    secret: str
    """`whsec_…`, shared with the receiver."""
    private_key: str
    """`whsk_…`, known to the service only."""

    @classmethod
    def new(cls) -> "WebhookSigner":
        """Generate new keys."""
        return cls(
            _encode(SECRET_PREFIX, secrets.token_bytes(SECRET_BYTES)),
            _encode(PRIVATE_KEY_PREFIX, secrets.token_bytes(32)),
        )

    @classmethod
    def from_row(cls, row: WebhookEndpoint, secret_box: SecretBox) -> "WebhookSigner":
        """Decrypt an endpoint's keys. Raises `SecretsKeyError`."""
        return cls(secret_box.open(row.secret), secret_box.open(row.private_key))

    def sealed_columns(self, secret_box: SecretBox) -> dict[str, str]:
        """Return the encrypted secrets and the public key, by column."""
        private_key = secret_box.seal(self.private_key)
        return {"secret": secret_box.seal(self.secret), "private_key": private_key, "public_key": self.public_key}

    @property
    def public_key(self) -> str:
        """`whpk_…`, for receivers that check `v1a`."""
        return _encode(PUBLIC_KEY_PREFIX, self._key.public_key().public_bytes_raw())

    def headers(self, message_id: str, now: datetime, body: bytes) -> dict[str, str]:
        """Return the headers of a message that is sent `now`."""
        seconds = int(now.timestamp())
        content = f"{message_id}.{seconds}.".encode() + body
        mac = hmac.digest(_decode(SECRET_PREFIX, self.secret), content, hashlib.sha256)
        signatures = f"v1,{_base64(mac)} v1a,{_base64(self._key.sign(content))}"
        return {"webhook-id": message_id, "webhook-timestamp": str(seconds), "webhook-signature": signatures}

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(_decode(PRIVATE_KEY_PREFIX, self.private_key))


def _encode(prefix: str, content: bytes) -> str:
    return prefix + _base64(content)


def _decode(prefix: str, text: str) -> bytes:
    return base64.b64decode(text.removeprefix(prefix), validate=True)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
