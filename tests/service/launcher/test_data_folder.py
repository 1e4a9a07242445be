"""The data folder: one instance at a time, a private API key, a short socket path."""

import stat
from pathlib import Path

import pytest

from service.launcher import broker
from service.launcher.data_folder import MAX_SOCKET_PATH_BYTES, DataFolder
from service.launcher.errors import LaunchError
from service.store import api_keys
from service.store.clock import utc_now
from service.store.database import Database


def test_second_instance_is_refused(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    with folder.lock(), pytest.raises(LaunchError, match="Another `expunge up`"), folder.lock():
        pass
    with folder.lock():
        pass


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
