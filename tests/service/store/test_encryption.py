"""Encryption of secrets in the database, and key rotation."""

import errno
import os
import stat
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from typer.testing import CliRunner

from service.cli.store import secrets
from service.store.database import Database
from service.store.encryption import SecretBox, ensure_key_file, generate_encryption_key, reseal_all, rotate_key_file
from service.store.errors import SecretsKeyError
from service.store.settings import StoreSettings
from service.store.webhooks import add_endpoint
from tests.fakes.clock import FakeClock

RAW = bytes(range(32))
PLAIN = {"secret": f"whsec_{b64encode(RAW).decode()}", "private_key": f"whsk_{b64encode(RAW).decode()}"}
OLD = (
    "INSERT INTO webhook_endpoints (id, tenant, url, events, description, secret, private_key, created_at)"
    " VALUES ('whe_1', 'one', 'https://desk.example', '[]', '', :secret, :private_key, '2026-05-01 12:00:00')"
)


def endpoint_row(database: Database) -> dict[str, Any]:
    with database.read() as session:
        return dict(session.execute(text("SELECT * FROM webhook_endpoints")).mappings().one())


@pytest.fixture
def old_database(empty_database: Database) -> Database:
    """A database of an earlier revision with a webhook endpoint, whose secrets are plain text."""
    empty_database.prepare("0002")
    with empty_database.write() as session:
        session.execute(text(OLD), PLAIN)
    return empty_database


def test_upgrade_encrypts_secrets_and_downgrade_decrypts_them(old_database: Database) -> None:
    secret_box = SecretBox((generate_encryption_key(),))
    old_database.prepare(secret_box=lambda: secret_box)
    found = endpoint_row(old_database)
    assert {name: secret_box.open(found[name]) for name in PLAIN} == PLAIN
    assert not any(secret in str(found) for secret in PLAIN.values())
    public = Ed25519PrivateKey.from_private_bytes(RAW).public_key().public_bytes_raw()
    assert found["public_key"] == f"whpk_{b64encode(public).decode()}"
    old_database.revert("0002", secret_box=lambda: secret_box)
    assert {name: endpoint_row(old_database)[name] for name in PLAIN} == PLAIN


def test_upgrade_without_a_key_is_rolled_back(old_database: Database) -> None:
    with pytest.raises(SecretsKeyError, match="expunge db upgrade"):
        old_database.prepare()
    assert old_database.revision() == "0002"
    assert {name: endpoint_row(old_database)[name] for name in PLAIN} == PLAIN


def test_key_can_be_rotated(database: Database, clock: FakeClock) -> None:
    first, second = generate_encryption_key(), generate_encryption_key()
    sealed = {name: SecretBox((first,)).seal(secret) for name, secret in PLAIN.items()}
    with database.write() as session:
        wishes = {"url": "https://desk.example", "events": [], "description": "", "public_key": ""}
        add_endpoint(session, "one", now=clock(), **wishes, **sealed)
    with database.write() as session:
        assert reseal_all(session, SecretBox((second, first))) == 1
    found = endpoint_row(database)
    assert {name: SecretBox((second,)).open(found[name]) for name in PLAIN} == PLAIN
    with pytest.raises(SecretsKeyError):
        SecretBox((first,)).open(found["secret"])


def test_encryption_is_randomized() -> None:
    secret_box = SecretBox((generate_encryption_key(),))
    assert secret_box.seal("x") != secret_box.seal("x")


@pytest.mark.parametrize("text", ["", "short", ",", "ä" * 44, "A" * 43])
def test_malformed_key_is_rejected(text: str) -> None:
    with pytest.raises(SecretsKeyError, match="no valid key") as caught:
        SecretBox.parse(text)
    assert "expunge secrets new" in caught.value.remedy


def test_concurrent_creation_gives_one_key_file(tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    with ThreadPoolExecutor(8) as several:
        found = set(several.map(lambda _: (ensure_key_file(file), SecretBox.read(file))[1], range(32)))
    assert len(found) == 1
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_rotation_prepends_a_key(tmp_path: Path) -> None:
    file = tmp_path / "secrets.key"
    ensure_key_file(file)
    before = SecretBox.read(file)
    sealed = before.seal("x")
    rotate_key_file(file)
    after = SecretBox.read(file)
    assert after.keys[1:] == before.keys
    assert after.open(sealed) == "x"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(SecretsKeyError):
        before.open(after.seal("x"))


def test_key_is_created_for_sqlite_and_required_otherwise(tmp_path: Path) -> None:
    assert StoreSettings(data_dir=tmp_path).secret_box() == SecretBox.read(tmp_path / "secrets.key")
    key = generate_encryption_key()
    shared: dict[str, Any] = {"data_dir": tmp_path / "another", "database_url": "postgresql://nowhere/x"}
    with pytest.raises(SecretsKeyError, match="no valid key"):
        StoreSettings(**shared).secret_box()
    assert StoreSettings(**shared, secrets_key=f"{key},{generate_encryption_key()}").secret_box().keys[0] == key


def test_rotate_command_while_the_service_runs(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPUNGE_DATA_DIR", str(tmp_path))
    settings = StoreSettings()
    database = settings.database()
    database.prepare()
    first = settings.secret_box()
    with database.write() as session:
        wishes = {"url": "https://desk.example", "events": [], "description": "", "public_key": ""}
        add_endpoint(
            session, "one", now=clock(), **wishes, **{name: first.seal(secret) for name, secret in PLAIN.items()}
        )
    assert (
        CliRunner().invoke(secrets, ["rotate"]).output
        == "Re-encrypted the secrets of 1 webhook endpoints and 0 keys of cases.\n"
    )
    assert settings.secret_box().keys[1:] == first.keys
    with pytest.raises(SecretsKeyError):
        first.open(endpoint_row(database)["secret"])
    brought = CliRunner().invoke(secrets, ["new"]).output.strip()
    monkeypatch.setenv("EXPUNGE_SECRETS_KEY", ",".join([brought, *settings.secret_box().keys]))
    assert CliRunner().invoke(secrets, ["rotate"]).exit_code == 0
    assert SecretBox((brought,)).open(endpoint_row(database)["secret"]) == PLAIN["secret"]
    database.close()


def test_full_disk_is_named_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(SecretsKeyError, match="No space left on device"):
        ensure_key_file(tmp_path / "secrets.key")
    assert list(tmp_path.iterdir()) == []
