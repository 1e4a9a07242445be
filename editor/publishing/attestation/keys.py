"""Signing keys in a folder: private keys, and the public list with the validity of each key.

signing/            0700
├── keys.json       the public list; may be published
└── <keyid>.pem     0600, PKCS #8; one for each key that can still sign
"""

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
from editor.io.digests import sha256_hex

DEFAULT_FOLDER = Path("~/.expunge/signing")
"""Inside the default data folder of `expunge up`."""
SIGNING_KEY_VARIABLE = "EXPUNGE_SIGNING_KEY"
"""The environment variable for a private key in PEM, instead of a folder."""
KEY_LIST = "keys.json"
GROUP_OR_OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Signer:
    """A private key that signs."""

    private: Ed25519PrivateKey

    @property
    def keyid(self) -> str:
        """The key id; see :func:`key_id`."""
        return key_id(self.private.public_key())

    def sign(self, message: bytes) -> bytes:
        """Sign a message. The same message gives the same signature (RFC 8032)."""
        return self.private.sign(message)


def key_id(key: Ed25519PublicKey) -> str:
    """Return a key id: the SHA-256 of the SubjectPublicKeyInfo, in hexadecimal."""
    return sha256_hex(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def make_public_key(private: Ed25519PrivateKey, now: datetime) -> PublicKey:
    """Return the public key, valid from now on."""
    public = private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return PublicKey(keyid=key_id(public), pem=pem, not_before=now)


@dataclass(frozen=True)
class KeyFolder:
    """A folder of signing keys."""

    root: Path

    def public(self) -> PublicKeys:
        """Return all public keys, oldest first; none if the folder does not exist yet.

        Raises:
            SigningError: the list is damaged.
        """
        path = self.root / KEY_LIST
        return read_keys(path) if path.is_file() else PublicKeys(keys=[])

    def create(self, now: datetime) -> PublicKey:
        """Create a key. The newest key signs."""
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_permissions(self.root)
        private = Ed25519PrivateKey.generate()
        key = make_public_key(private, now)
        secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write_private_file(self.private_path(key.keyid), secret)
        self._write([*self.public().keys, key])
        return key

    def rotate(self, now: datetime) -> PublicKey:
        """Create a key, and retire the others: their signatures stay valid, and their private keys are deleted."""
        old = [key for key in self.public().keys if key.is_valid_at(now)]
        new = self.create(now)
        for key in old:
            self._change(key.keyid, lambda found: found.model_copy(update={"not_after": now}))
            self.private_path(key.keyid).unlink(missing_ok=True)
        return new

    def revoke(self, keyid: str, now: datetime) -> PublicKey:
        """Invalidate everything that a key signed. Raises SigningError: there is no such key."""
        if self.public().find(keyid) is None:
            raise SigningError(
                f"There is no key {keyid}.", field="keyid", remedy="List the keys with `expunge keys list`."
            )
        changed = self._change(keyid, lambda found: found.model_copy(update={"revoked_at": now}))
        self.private_path(keyid).unlink(missing_ok=True)
        return changed

    def signer(self, now: datetime) -> Signer | None:
        """Return the newest key that may sign now, or None.

        Raises:
            SigningError: the private key is missing, damaged, or readable by others.
        """
        usable = [key for key in self.public().keys if key.is_valid_at(now)]
        return read_signer(self.private_path(usable[-1].keyid)) if usable else None

    def private_path(self, keyid: str) -> Path:
        """Return the file of a private key."""
        return self.root / f"{keyid}.pem"

    def _change(self, keyid: str, change: Callable[[PublicKey], PublicKey]) -> PublicKey:
        keys = [change(key) if key.keyid == keyid else key for key in self.public().keys]
        self._write(keys)
        return next(key for key in keys if key.keyid == keyid)

    def _write(self, keys: list[PublicKey]) -> None:
        write_bytes(self.root / KEY_LIST, PublicKeys(keys=keys).model_dump_json(by_alias=True, indent=2).encode())


def open_signer(folder: Path | None, now: datetime) -> Signer | None:
    """Return the signer: the key in ``EXPUNGE_SIGNING_KEY``, else the folder's newest key, else None.

    Raises:
        SigningError: the key is not usable.
    """
    if text := os.environ.get(SIGNING_KEY_VARIABLE):
        return load_signer(text.encode(), SIGNING_KEY_VARIABLE)
    return KeyFolder(folder.expanduser()).signer(now) if folder else None


def read_keys(path: Path) -> PublicKeys:
    """Read a public key list. Raises SigningError: it does not exist, it is invalid, or a key has the wrong id."""
    if not path.exists():
        raise SigningError(
            f"There is no list of trusted public keys at {path}.",
            field="keys",
            remedy="Pass the publisher's list as --keys, or make a key of your own with `expunge keys new`.",
        )
    try:
        keys = PublicKeys.model_validate_json(path.read_bytes())
        if any(key_id(load_public_key(key)) != key.keyid for key in keys.keys):
            raise ValueError("a key has the wrong id")
        return keys
    except (OSError, ValueError) as error:
        raise SigningError(
            f"{path} is not a public key list.", field="keys", remedy="Use the output of `expunge keys export`."
        ) from error


def load_public_key(key: PublicKey) -> Ed25519PublicKey:
    """Load a public key from PEM. Raises ValueError: it is not an Ed25519 key."""
    public = load_pem_public_key(key.pem.encode())
    if not isinstance(public, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    return public


def read_signer(path: Path) -> Signer:
    """Read a private key. Raises SigningError: it is missing, invalid, or readable by others."""
    if not path.is_file():
        raise SigningError(f"{path} is missing.", field="keys", remedy="Create a new key with `expunge keys rotate`.")
    for place in (path.parent, path):
        check_permissions(place)
    return load_signer(path.read_bytes(), str(path))


def load_signer(pem: bytes, origin: str) -> Signer:
    """Load a private key from PEM. Error messages never contain it."""
    try:
        private = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise SigningError(
            f"{origin} is not an Ed25519 private key in PEM.",
            field="keys",
            remedy="Create a key with `expunge keys new`.",
        )
    return Signer(private)


def check_permissions(path: Path) -> None:
    """Raise SigningError if anyone except the owner can read a file or folder."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & GROUP_OR_OTHERS:
        only = 0o700 if path.is_dir() else 0o600
        raise SigningError(
            f"{path} can be read by others (mode {mode:04o}).",
            field="keys",
            remedy=f"Run `chmod {only:o} {path}`. If anyone may have read the key, revoke it.",
        )


def write_private_file(path: Path, content: bytes) -> None:
    """Write a new file that no other user can read at any time."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
