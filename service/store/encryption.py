"""Encryption of secrets that must be readable again, such as webhook signing keys. The key is stored outside the database.

Uses Fernet from `cryptography` (AES-128-CBC with HMAC-SHA256), so a copy of the database alone cannot sign webhooks.
"""

import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store.errors import SecretsKeyError
from service.store.orm import WebhookEndpoint

REMEDY = (
    "Set EXPUNGE_SECRETS_KEY to the same value for every API and dispatcher process; `expunge secrets "
    "new` prints a new key."
)


@dataclass(frozen=True)
class SecretBox:
    """Encrypts with the first key and decrypts with any of them."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raise `SecretsKeyError` if there is no key or a key is malformed."""
        try:
            self._fernet  # noqa: B018  it looks at the keys
        except ValueError as error:
            raise SecretsKeyError("There is no valid key to encrypt secrets with.", remedy=REMEDY) from error

    @classmethod
    def parse(cls, text: str) -> "SecretBox":
        """Parse keys separated by commas or whitespace."""
        return cls(tuple(text.replace(",", " ").split()))

    @classmethod
    def read(cls, file: Path) -> "SecretBox":
        """Read the keys of a file: one per line, newest first. A missing file has no keys."""
        return cls.parse(file.read_text("ascii") if file.is_file() else "")

    def seal(self, secret: str) -> str:
        """Encrypt a secret for storage."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt a stored secret. Raises `SecretsKeyError`."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as error:
            raise SecretsKeyError("A secret was encrypted with another key.", remedy=REMEDY) from error

    def reseal(self, sealed: str) -> str:
        """Encrypt a stored secret with the first key. Raises `SecretsKeyError`."""
        return self.seal(self.open(sealed))

    @property
    def _fernet(self) -> MultiFernet:
        return MultiFernet([Fernet(key) for key in self.keys])


def generate_encryption_key() -> str:
    """Generate a key: 32 random bytes in URL-safe base64."""
    return Fernet.generate_key().decode()


def ensure_key_file(file: Path) -> None:
    """Create a key file unless it exists. Safe if several processes create it at once."""
    if file.exists():
        return
    staged = _write_staged(file, [generate_encryption_key()])
    with suppress(FileExistsError):
        os.link(staged, file)
    staged.unlink()


def rotate_key_file(file: Path) -> None:
    """Prepend a new key to a key file. The other keys still decrypt what they encrypted."""
    _write_staged(file, [generate_encryption_key(), *SecretBox.read(file).keys]).replace(file)


def reseal_all(session: Session, secret_box: SecretBox) -> int:
    """Encrypt every stored secret with the first key. Returns the number of webhook endpoints. Raises `SecretsKeyError`."""
    rows = session.scalars(select(WebhookEndpoint)).all()
    for row in rows:
        row.secret, row.private_key = secret_box.reseal(row.secret), secret_box.reseal(row.private_key)
    return len(rows)


def _write_staged(file: Path, keys: Sequence[str]) -> Path:
    """Write the keys to a temporary file in the same folder, readable by the owner only, and fsync it.

    Raises `SecretsKeyError`.
    """
    staged = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write("".join(f"{key}\n" for key in keys))
            out.flush()
            os.fsync(out.fileno())
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise SecretsKeyError(
            f"The file of the encryption keys cannot be written: {error.strerror}.",
            remedy="The operator must free space on the disk of the data folder, or correct the folder's permissions.",
        ) from error
    return staged
