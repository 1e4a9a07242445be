"""Encryption of the personal data of cases, with one data key per case, and a keyed index of names.

The data key is sealed with the key of the installation. Destroying it makes every sealed column of the case unreadable, without
changing a row of its history. Names are found by HMAC-SHA256 with a key of the tenant: bare digests of names could be guessed.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography.fernet import Fernet, InvalidToken
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.store.cases_orm import Case, CaseDesk
from service.store.encryption import SecretBox, generate_encryption_key
from service.store.errors import SecretsKeyError


@dataclass(frozen=True)
class CaseKey:
    """The data key of a case."""

    key: str

    @classmethod
    def unwrap(cls, case: Case, secret_box: SecretBox) -> "CaseKey | None":
        """Return the key of a case, or None if the case is erased. Raises `SecretsKeyError`."""
        return cls(secret_box.open(case.data_key)) if case.data_key else None

    def seal(self, text: str) -> str:
        """Encrypt a text of the case."""
        return Fernet(self.key).encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """Decrypt a text of the case. Raises `SecretsKeyError`."""
        try:
            return Fernet(self.key).decrypt(sealed).decode()
        except InvalidToken as error:
            raise SecretsKeyError("A text was sealed with the key of another case.") from error


def generate_data_key() -> CaseKey:
    """Generate a data key."""
    return CaseKey(generate_encryption_key())


def name_digests(index_key: str, names: Iterable[str]) -> set[str]:
    """Return the keyed digests of names, which ignore case."""
    key = index_key.encode()
    return {hmac.new(key, name.casefold().encode(), hashlib.sha256).hexdigest() for name in names}


def reseal_keys(session: Session, secret_box: SecretBox) -> int:
    """Seal the keys of cases and desks with the installation's first key. Returns their number. Raises `SecretsKeyError`."""
    cases = session.scalars(select(Case).where(Case.data_key.is_not(None))).all()
    for case in cases:
        case.data_key = secret_box.reseal(case.data_key or "")
    desks = session.scalars(select(CaseDesk)).all()
    for desk in desks:
        desk.index_key = secret_box.reseal(desk.index_key)
    return len(cases) + len(desks)
