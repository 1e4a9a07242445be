"""The data folder: one instance at a time, a private API key, a short socket path."""

import stat
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api_schemas.cli.main import exit_code
from api_schemas.errors import FAILED, UsageError
from service.cli import admin
from service.launcher import broker
from service.launcher.data_folder import MAX_SOCKET_PATH_BYTES, DataFolder
from service.launcher.errors import LaunchError
from service.launcher.stack import LaunchOptions, run_stack
from service.store import api_keys
from service.store.clock import utc_now
from service.store.database import Database
from service.store.errors import DatabaseCorrupted


def test_second_instance_is_refused(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    with folder.lock(), pytest.raises(LaunchError, match="Another `expunge up`"), folder.lock():
        pass
    with folder.lock():
        pass


@pytest.mark.parametrize("name", ["file", "file/below", "data"])
def test_file_in_place_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "logs").touch()
    with pytest.raises(UsageError, match="cannot be created") as caught, DataFolder(tmp_path / name).lock():
        pass
    assert caught.value.field == "data_dir"


def test_read_only_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests may run as root, who can write everywhere."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(UsageError, match="is not writable"), DataFolder(tmp_path).lock():
        pass


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"x" * 5000])
def test_corrupt_database_is_refused_in_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "expunge.db").write_bytes(content)
    options = LaunchOptions(tmp_path, "127.0.0.1", 0)
    with pytest.raises(DatabaseCorrupted, match="damaged") as caught, run_stack(options, threading.Event()):
        pass
    assert exit_code(caught.value) == FAILED
    for command in (["list"], ["create"]):
        done = CliRunner().invoke(admin.api_keys, [*command, "--data-dir", str(tmp_path)])
        assert isinstance(done.exception, DatabaseCorrupted)


def test_existing_files_become_private(tmp_path: Path) -> None:
    for name in ("expunge.db", "expunge.db-wal", "notes.txt"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o644)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs").chmod(0o755)
    with DataFolder(tmp_path).lock():
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert (modes["expunge.db"], modes["expunge.db-wal"], modes["logs"]) == (0o600, 0o600, 0o700)
    assert modes["notes.txt"] & 0o044  # It is not ours.


def test_api_key_is_created_once_and_private(tmp_path: Path, database: Database) -> None:
    folder = DataFolder(tmp_path)
    folder.ensure_api_key(database)
    key = folder.api_key_file.read_text()
    assert stat.S_IMODE(folder.api_key_file.stat().st_mode) == 0o600
    folder.ensure_api_key(database)
    assert folder.api_key_file.read_text() == key
    with database.read() as session:
        assert api_keys.authenticate(session, key.strip(), now=utc_now())


def test_deep_folder_gets_a_short_socket_path(tmp_path: Path) -> None:
    deep = DataFolder(tmp_path / ("d" * 120))
    with deep.socket_path() as path:
        assert len(str(path)) < MAX_SOCKET_PATH_BYTES
        assert path.parent.stat().st_mode & 0o077 == 0
    assert not path.parent.exists()


def test_service_file_exists_while_it_runs(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    with folder.announce("http://x"):
        assert '"http://x"' in folder.service_file.read_text()
    assert not folder.service_file.exists()


def test_missing_broker_has_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LaunchError, match=r"expunge\[embedded\]"):
        broker.find_server()
