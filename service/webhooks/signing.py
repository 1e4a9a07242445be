"""Signatures by Standard Webhooks 1.0.0: `v1` (HMAC-SHA256, a shared secret) and `v1a` (Ed25519, a public key).

Both go with every message; a receiver checks the one that it likes. What is signed is `{id}.{seconds}.{body}`.
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
SECRET, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"


@dataclass(frozen=True)
class Signer:
    """An endpoint's two secrets, in the forms that the specification gives them."""

    secret: str
    """`whsec_…`: the receiver has it too."""
    private_key: str
    """`whsk_…`: nobody else has it."""

    @classmethod
    def new(cls) -> "Signer":
        """Fresh ones."""
        return cls(_encoded(SECRET, secrets.token_bytes(SECRET_BYTES)), _encoded(PRIVATE, secrets.token_bytes(32)))

    @classmethod
    def opened(cls, row: WebhookEndpoint, sealer: SecretBox) -> "Signer":
        """A receiver's, as they lie in the database. Raises `SecretsKeyError`."""
        return cls(sealer.open(row.secret), sealer.open(row.private_key))

    def sealed(self, sealer: SecretBox) -> dict[str, str]:
        """What of them may lie in the database, by column."""
        private_key = sealer.seal(self.private_key)
        return {"secret": sealer.seal(self.secret), "private_key": private_key, "public_key": self.public_key}

    @property
    def public_key(self) -> str:
        """`whpk_…`, for receivers that check `v1a`."""
        return _encoded(PUBLIC, self._key.public_key().public_bytes_raw())

    def headers(self, message_id: str, now: datetime, body: bytes) -> dict[str, str]:
        """What goes with a message that is sent `now`."""
        seconds = int(now.timestamp())
        content = f"{message_id}.{seconds}.".encode() + body
        mac = hmac.digest(_decoded(SECRET, self.secret), content, hashlib.sha256)
        signatures = f"v1,{_base64(mac)} v1a,{_base64(self._key.sign(content))}"
        return {"webhook-id": message_id, "webhook-timestamp": str(seconds), "webhook-signature": signatures}

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(_decoded(PRIVATE, self.private_key))


def _encoded(prefix: str, content: bytes) -> str:
    return prefix + _base64(content)


def _decoded(prefix: str, text: str) -> bytes:
    return base64.b64decode(text.removeprefix(prefix), validate=True)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
