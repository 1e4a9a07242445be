"""Secrets that have to be read again, as those of webhooks: the database has them sealed, and the key lies elsewhere.

Fernet, of `cryptography`: AES-128-CBC with HMAC-SHA256. Whoever has a copy of the database, and nothing else, can sign
nothing in our name.
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

REMEDY = "Set EXPUNGE_SECRETS_KEY, the same for every API and dispatcher: `expunge secrets new` prints one."


@dataclass(frozen=True)
class SecretBox:
    """The first key seals; all of them open."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises `SecretsKeyError` where there is no key, or one that is none."""
        try:
            self._fernet  # noqa: B018  it looks at the keys
        except ValueError as error:
            raise SecretsKeyError("no key to seal secrets with can be read.", remedy=REMEDY) from error

    @classmethod
    def parse(cls, text: str) -> "SecretBox":
        """Keys, separated by commas or line breaks."""
        return cls(tuple(text.replace(",", " ").split()))

    @classmethod
    def read(cls, file: Path) -> "SecretBox":
        """The keys of a file: one a line, the newest first."""
        return cls.parse(file.read_text("ascii") if file.is_file() else "")

    def seal(self, secret: str) -> str:
        """What may lie in the database."""
        return self._fernet.encrypt(secret.encode()).decode()

    def open(self, sealed: str) -> str:
        """What was sealed. Raises `SecretsKeyError`."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken as error:
            raise SecretsKeyError("a secret was sealed with another key.", remedy=REMEDY) from error

    def reseal(self, sealed: str) -> str:
        """The same secret, under the first key. Raises `SecretsKeyError`."""
        return self.seal(self.open(sealed))

    @property
    def _fernet(self) -> MultiFernet:
        return MultiFernet([Fernet(key) for key in self.keys])


def new_key() -> str:
    """A fresh one: 32 random bytes in URL-safe base64."""
    return Fernet.generate_key().decode()


def ensure_key_file(file: Path) -> None:
    """Have a file with a key. One that is there stays, also one that somebody else makes at this moment."""
    if file.exists():
        return
    staged = _write_staged(file, [new_key()])
    with suppress(FileExistsError):
        os.link(staged, file)
    staged.unlink()


def rotate_key_file(file: Path) -> None:
    """Put a fresh key in front of those of a file. The others still open what they sealed."""
    _write_staged(file, [new_key(), *SecretBox.read(file).keys]).replace(file)


def reseal_all(session: Session, secret_box: SecretBox) -> int:
    """Have every secret under the first key. Returns how many receivers there are. Raises `SecretsKeyError`."""
    rows = session.scalars(select(WebhookEndpoint)).all()
    for row in rows:
        row.secret, row.private_key = secret_box.reseal(row.secret), secret_box.reseal(row.private_key)
    return len(rows)


def _write_staged(file: Path, keys: Sequence[str]) -> Path:
    """A file beside it with these keys, never readable by others, and on the disk."""
    staged = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write("".join(f"{key}\n" for key in keys))
        out.flush()
        os.fsync(out.fileno())
    return staged
