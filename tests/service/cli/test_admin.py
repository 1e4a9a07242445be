"""Operator commands for keys, models and the audit log, and the listen policy."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from api_schemas.cli.main import main
from api_schemas.errors import ExpungeError, UsageError
from service.cli import admin, store
from service.launcher.tls import ListenPolicy
from service.store import api_keys, registered_files
from service.store.clock import utc_now
from service.store.database import Database
from service.store.errors import RefusedModel
from service.store.settings import StoreSettings
from tests.fakes.certificate import write_certificate
from tests.fakes.model import WEIGHTS, write_model

Run = Callable[..., Any]


@pytest.fixture
def run(empty_tables: Path, tmp_path: Path) -> Run:
    """Run a command of a group on a data folder of its own, which has a database, and raise its errors."""
    (tmp_path / "data").mkdir()
    shutil.copy(empty_tables, tmp_path / "data")

    def run(group: typer.Typer, *arguments: str) -> str:
        done = CliRunner().invoke(group, [*arguments, "--data-dir", str(tmp_path / "data")])
        if isinstance(done.exception, ExpungeError):
            raise done.exception
        return f"{done.exit_code} {done.stdout}"

    return run


def database_of(tmp_path: Path) -> Database:
    return StoreSettings(data_dir=tmp_path / "data").database()


@pytest.mark.parametrize("folder_exists", [False, True])
@pytest.mark.parametrize(
    "arguments",
    [
        "api-keys create",
        "api-keys list",
        "api-keys revoke key",
        "audit list",
        "audit verify",
        "db backup copy.db",
        "db status",
        "fsck",
        "gc",
        "gc --dry-run",
        "models add .",
        "models list",
        "models remove tiny",
        "secrets rotate",
    ],
)
def test_missing_data_folder_is_reported_and_not_created(
    tmp_path: Path,
    arguments: str,
    folder_exists: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(write_model(tmp_path / "tiny"))
    folder = tmp_path / "absent"
    if folder_exists:
        folder.mkdir()
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("sys.argv", ["expunge", *arguments.split(), "--data-dir", str(folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = " ".join(capsys.readouterr().err.split())
    assert "does not exist" in shown
    assert "expunge db upgrade" in shown
    assert sorted(tmp_path.rglob("*")) == before


def test_upgrade_creates_the_data_folder(tmp_path: Path) -> None:
    done = CliRunner().invoke(store.db, ["upgrade", "--data-dir", str(tmp_path / "new")])
    assert done.exit_code == 0
    assert (tmp_path / "new" / "expunge.db").is_file()
    assert CliRunner().invoke(store.db, ["status", "--data-dir", str(tmp_path / "new")]).exit_code == 0


def test_key_is_created_used_listed_and_revoked(run: Run, tmp_path: Path) -> None:
    made = json.loads(run(admin.api_keys, "create", "--tenant", "desk", "--scope", "edits:read", "--json")[2:])
    with database_of(tmp_path).read() as session:
        found = api_keys.authenticate(session, made["key"], now=utc_now())
        assert found is not None
        assert (found.tenant, found.scopes) == ("desk", ["edits:read"])
    listed = run(admin.api_keys, "list", "--json")
    assert json.loads(listed[2:])[0]["id"] == made["id"]
    assert made["key"] not in listed + run(admin.audit, "list", "--json")
    run(admin.api_keys, "revoke", made["id"])
    with database_of(tmp_path).read() as session:
        assert api_keys.authenticate(session, made["key"], now=utc_now()) is None


@pytest.mark.parametrize(
    "arguments", [["create", "--scope", "edits:eat"], ["create", "--tenant", "A B"], ["revoke", "nobody"]]
)
def test_invalid_arguments_are_rejected(run: Run, arguments: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        run(admin.api_keys, *arguments)
    assert caught.value.remedy


def test_only_changed_files_are_hashed_again(run: Run, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    assert "4 hashed" in run(admin.models, "add", str(folder))
    assert "0 hashed" in run(admin.models, "add", str(folder))
    (folder / WEIGHTS).write_bytes(b"other")
    os.utime(folder / WEIGHTS, ns=(1, 1))
    assert "1 hashed" in run(admin.models, "add", str(folder))
    assert str(folder) in run(admin.models, "list")
    assert StoreSettings(data_dir=tmp_path / "data").registry().get("tiny").path == folder
    run(admin.models, "remove", "tiny")
    assert str(folder) not in run(admin.models, "list")


def test_interrupted_registration_resumes(tmp_path: Path, run: Run) -> None:
    folder = write_model(tmp_path / "tiny")
    database, seen = database_of(tmp_path), list[int]()

    def cut(size: int) -> None:
        seen.append(size)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        registered_files.register_model(database, "tiny", folder, utc_now(), cut)
    assert registered_files.register_model(database, "tiny", folder, utc_now()).hashed == 2


@pytest.mark.parametrize("bad", ["unet/model.bin", "run.py", "weights.ckpt", "a/b.pkl", "na\nme.json"])
def test_code_and_unusual_names_are_rejected(run: Run, tmp_path: Path, bad: str) -> None:
    path = write_model(tmp_path / "tiny") / bad
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"x")
    with pytest.raises(RefusedModel):
        run(admin.models, "add", str(tmp_path / "tiny"))


def test_links_and_other_folders_are_rejected(run: Run, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "tiny")
    (folder / "link.json").symlink_to("/etc/passwd")
    with pytest.raises(RefusedModel, match="link"):
        run(admin.models, "add", str(folder))
    with pytest.raises(RefusedModel, match="diffusers"):
        run(admin.models, "add", str(tmp_path))


def test_audit_log_is_verified_by_command(run: Run, tmp_path: Path) -> None:
    run(admin.api_keys, "create")
    found = json.loads(run(admin.audit, "verify", "--json")[2:])
    assert run(admin.audit, "verify", "--expect", f"1:{found['head']}").startswith("0")
    assert run(admin.audit, "verify", "--expect", f"1:{'0' * 64}").startswith("1")
    for malformed in ("x", f"²:{'0' * 64}", f"{'9' * 5000}:{'0' * 64}"):
        with pytest.raises(UsageError):
            run(admin.audit, "verify", "--expect", malformed)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "desk.example"])
def test_public_address_requires_tls(host: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unencrypted"):
        ListenPolicy().check(host)
    ListenPolicy(behind_proxy=True).check(host)
    certificate, key = write_certificate(tmp_path)
    ListenPolicy(certificate, key).check(host)
    with pytest.raises(UsageError, match="key"):
        ListenPolicy(certificate).check(host)


def test_unusable_certificate_is_refused(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    (tmp_path / "other").mkdir()
    _, other_key = write_certificate(tmp_path / "other")
    (empty := tmp_path / "empty.pem").touch()
    for pair in ((certificate, other_key), (certificate, empty), (empty, key), (key, certificate)):
        with pytest.raises(UsageError, match="are not a TLS certificate and its unencrypted private key"):
            ListenPolicy(*pair).check("127.0.0.1")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_loopback_needs_no_tls(host: str) -> None:
    ListenPolicy().check(host)
