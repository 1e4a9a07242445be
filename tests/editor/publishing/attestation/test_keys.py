"""Signing keys: file permissions, selection, rotation and revocation."""

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from api_schemas.cli.main import run
from editor.cli.keys import keys as command
from editor.errors import SigningError
from editor.publishing.attestation.keys import SIGNING_KEY_VARIABLE, KeyFolder, open_signer, read_keys

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=30)


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    return KeyFolder(tmp_path / "signing")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_new_key_is_readable_by_its_owner_only(folder: KeyFolder) -> None:
    key = folder.create(NOW)
    assert mode(folder.root) == 0o700
    assert mode(folder.private_path(key.keyid)) == 0o600
    assert b"PRIVATE" not in (folder.root / "keys.json").read_bytes()


@pytest.mark.parametrize("loose", [0o640, 0o604, 0o660])
def test_key_readable_by_others_is_rejected(folder: KeyFolder, loose: int) -> None:
    key = folder.create(NOW)
    folder.private_path(key.keyid).chmod(loose)
    with pytest.raises(SigningError, match=f"{loose:04o}"):
        folder.signer(NOW)


def test_key_in_a_folder_accessible_to_others_is_rejected(folder: KeyFolder) -> None:
    folder.create(NOW)
    folder.root.chmod(0o750)
    with pytest.raises(SigningError, match="chmod 700"):
        folder.signer(NOW)
    with pytest.raises(SigningError):
        folder.create(NOW)


def test_rotation_signs_with_the_new_key_and_deletes_the_old_one(folder: KeyFolder) -> None:
    old = folder.create(NOW)
    new = folder.rotate(LATER)
    signer = folder.signer(LATER)
    assert signer is not None
    assert signer.keyid == new.keyid != old.keyid
    assert not folder.private_path(old.keyid).exists()
    retired = folder.public().find(old.keyid)
    assert retired is not None
    assert retired.is_valid_at(NOW), "its earlier signatures stay valid"
    assert not retired.is_valid_at(LATER)


def test_revoked_key_is_invalid_at_any_time(folder: KeyFolder) -> None:
    key = folder.create(NOW)
    assert not folder.revoke(key.keyid, LATER).is_valid_at(NOW)
    assert folder.signer(LATER) is None
    with pytest.raises(SigningError, match="no key"):
        folder.revoke("0" * 64, LATER)


def test_environment_key_takes_precedence_over_the_folder(folder: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, other = folder.create(NOW), KeyFolder(folder.root / "other").create(NOW)
    monkeypatch.setenv(SIGNING_KEY_VARIABLE, (folder.root / "other" / f"{other.keyid}.pem").read_text())
    signer = open_signer(folder.root, NOW)
    assert signer is not None
    assert signer.keyid == other.keyid != inside.keyid


def test_no_signer_without_a_key(folder: KeyFolder) -> None:
    assert open_signer(folder.root, NOW) is None
    assert open_signer(None, NOW) is None


@pytest.mark.parametrize("kind", ["other curve", "no key"])
def test_other_key_type_is_rejected_without_printing_it(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    other = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    text = other if kind == "other curve" else "s3cret"
    monkeypatch.setenv(SIGNING_KEY_VARIABLE, text)
    with pytest.raises(SigningError) as caught:
        open_signer(None, NOW)
    assert text not in str(caught.value)


def test_damaged_key_list_is_rejected(folder: KeyFolder) -> None:
    folder.create(NOW)
    (folder.root / "keys.json").write_text("{}")
    with pytest.raises(SigningError, match="not a public key list"):
        folder.public()


def test_key_list_with_a_wrong_key_id_is_rejected(folder: KeyFolder) -> None:
    first, second = folder.create(NOW), folder.create(NOW)
    text = (folder.root / "keys.json").read_text()
    (folder.root / "keys.json").write_text(text.replace(first.keyid, second.keyid))
    with pytest.raises(SigningError):
        folder.public()


def expunge_keys(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["expunge", *arguments])
    app = typer.Typer()
    app.add_typer(command, name="keys")
    with pytest.raises(SystemExit) as caught:
        run(app)
    assert not caught.value.code


def test_keys_command_creates_lists_rotates_revokes_and_exports(
    folder: KeyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EXPUNGE_SIGNING_DIR", str(folder.root))
    expunge_keys(monkeypatch, "keys", "new")
    expunge_keys(monkeypatch, "keys", "rotate")
    capsys.readouterr()
    expunge_keys(monkeypatch, "keys", "list", "--json")
    old, new = json.loads(capsys.readouterr().out)
    assert old["notAfter"]
    assert new["notAfter"] is None
    expunge_keys(monkeypatch, "keys", "revoke", new["keyid"])
    capsys.readouterr()
    expunge_keys(monkeypatch, "keys", "list")
    shown = capsys.readouterr().out
    assert "retired" in shown
    assert "revoked" in shown
    expunge_keys(monkeypatch, "keys", "export")
    (tmp_path / "handed-out.json").write_text(capsys.readouterr().out)
    assert read_keys(tmp_path / "handed-out.json") == folder.public()


def test_keys_command_does_not_import_torch() -> None:
    """Keys may be managed on machines without torch, and `--help` must be fast."""
    modules = ("cli.keys", "cli.verify", "cli.check_deployment", "publishing.attestation.__main__")
    imports = "; ".join(f"import editor.{name}" for name in modules)
    check = f"{imports}; import sys; sys.exit('torch' in sys.modules or 'matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_missing_list_of_trusted_keys_is_named(tmp_path: Path) -> None:
    with pytest.raises(SigningError, match="no list of trusted public keys") as caught:
        read_keys(tmp_path / "nowhere.json")
    assert "--keys" in caught.value.remedy
