"""Signing keys in a folder: private ones for us alone, and the public list with when each is good.

signing/            0700
├── keys.json       the public list; may be given to anybody
└── <keyid>.pem     0600, PKCS #8; one for each key that still signs
"""

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from api_schemas.attestation import PublicKey, PublicKeys
from editor.errors import SigningError
from editor.io.atomic import write_bytes

DEFAULT_FOLDER = Path("~/.expunge/signing")
"""Inside of the data folder that `expunge up` uses if none is named."""
PRIVATE_KEY = "EXPUNGE_SIGNING_KEY"
"""The variable that holds a private key in PEM, in place of a folder."""
LIST = "keys.json"
LOOSE = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Signer:
    """A private key at work."""

    private: Ed25519PrivateKey

    @property
    def keyid(self) -> str:
        """See :func:`keyid_of`."""
        return keyid_of(self.private.public_key())

    def sign(self, message: bytes) -> bytes:
        """The same message gives the same signature (RFC 8032)."""
        return self.private.sign(message)


def keyid_of(key: Ed25519PublicKey) -> str:
    """SHA-256 of the SubjectPublicKeyInfo, in hexadecimal."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def described(private: Ed25519PrivateKey, now: datetime) -> PublicKey:
    """The public half, good from now on."""
    public = private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return PublicKey(keyid=keyid_of(public), pem=pem, not_before=now)


@dataclass(frozen=True)
class KeyFolder:
    """A folder of signing keys."""

    root: Path

    def public(self) -> PublicKeys:
        """All keys, oldest first; none where there is no folder yet.

        Raises:
            SigningError: the list is damaged.
        """
        path = self.root / LIST
        return read_keys(path) if path.is_file() else PublicKeys(keys=[])

    def create(self, now: datetime) -> PublicKey:
        """Make a key that signs from now on. The newest one signs."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        refuse_loose(self.root)
        private = Ed25519PrivateKey.generate()
        key = described(private, now)
        secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private(self.private_path(key.keyid), secret)
        self._write([*self.public().keys, key])
        return key

    def rotate(self, now: datetime) -> PublicKey:
        """A new key signs from now on, and no other does; what those signed stays good. Their private halves go."""
        old = [key for key in self.public().keys if key.is_valid_at(now)]
        new = self.create(now)
        for key in old:
            self._change(key.keyid, lambda found: found.model_copy(update={"not_after": now}))
            self.private_path(key.keyid).unlink(missing_ok=True)
        return new

    def revoke(self, keyid: str, now: datetime) -> PublicKey:
        """Nothing that the key signed is good any more. Raises SigningError: there is no such key."""
        if self.public().find(keyid) is None:
            raise SigningError(f"There is no key {keyid}.", field="keyid", remedy="See `expunge keys list`.")
        changed = self._change(keyid, lambda found: found.model_copy(update={"revoked_at": now}))
        self.private_path(keyid).unlink(missing_ok=True)
        return changed

    def signer(self, now: datetime) -> Signer | None:
        """The newest key that may sign now, or None.

        Raises:
            SigningError: others can read the private key, or it is damaged or missing.
        """
        usable = [key for key in self.public().keys if key.is_valid_at(now)]
        return read_signer(self.private_path(usable[-1].keyid)) if usable else None

    def private_path(self, keyid: str) -> Path:
        """Where a private key lies."""
        return self.root / f"{keyid}.pem"

    def _change(self, keyid: str, change: Callable[[PublicKey], PublicKey]) -> PublicKey:
        keys = [change(key) if key.keyid == keyid else key for key in self.public().keys]
        self._write(keys)
        return next(key for key in keys if key.keyid == keyid)

    def _write(self, keys: list[PublicKey]) -> None:
        write_bytes(self.root / LIST, PublicKeys(keys=keys).model_dump_json(by_alias=True, indent=2).encode())


def open_signer(folder: Path | None, now: datetime) -> Signer | None:
    """Who signs: the key in ``EXPUNGE_SIGNING_KEY``, else the newest one of the folder, else nobody.

    Raises:
        SigningError: the key is not usable.
    """
    if text := os.environ.get(PRIVATE_KEY):
        return parsed(text.encode(), PRIVATE_KEY)
    return KeyFolder(folder.expanduser()).signer(now) if folder else None


def read_keys(path: Path) -> PublicKeys:
    """A public list, each key under its own id. Raises SigningError: it is none."""
    try:
        keys = PublicKeys.model_validate_json(path.read_bytes())
        if any(keyid_of(public_key(key)) != key.keyid for key in keys.keys):
            raise ValueError("a key has another's id")
        return keys
    except (OSError, ValueError) as error:
        raise SigningError(
            f"{path} is no list of public keys.", field="keys", remedy="Fetch what `expunge keys export` wrote."
        ) from error


def public_key(key: PublicKey) -> Ed25519PublicKey:
    """From PEM. Raises ValueError: it is none."""
    public = load_pem_public_key(key.pem.encode())
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    return public


def read_signer(path: Path) -> Signer:
    """A private key from its file. Raises SigningError: it is not ours alone, or none."""
    if not path.is_file():
        raise SigningError(f"{path} is missing.", field="keys", remedy="Make a new key: `expunge keys rotate`.")
    for place in (path.parent, path):
        refuse_loose(place)
    return parsed(path.read_bytes(), str(path))


def parsed(pem: bytes, origin: str) -> Signer:
    """A private key from PEM. Its text never enters a message."""
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise SigningError(
            f"{origin} holds no Ed25519 private key in PEM.", field="keys", remedy="See `expunge keys new`."
        )
    return Signer(private)


def refuse_loose(path: Path) -> None:
    """Raise SigningError if anybody but the owner can read it."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & LOOSE:
        only = 0o700 if path.is_dir() else 0o600
        raise SigningError(
            f"{path} can be read by others (mode {mode:04o}).",
            field="keys",
            remedy=f"chmod {only:o} {path}; if anybody may have seen the key, revoke it.",
        )


def write_private(path: Path, content: bytes) -> None:
    """A new file that nobody else can read, not for a moment."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
