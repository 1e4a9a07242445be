import os
import time
from pathlib import Path

import pytest

from editor.io import digest_cache
from editor.io.digest_cache import remembered_digest
from editor.io.digests import file_digest


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed. Files of any size are stored."""
    paths: list[Path] = []

    def digest(path: Path) -> str:
        paths.append(path)
        return file_digest(path)

    monkeypatch.setattr(digest_cache, "file_digest", digest)
    monkeypatch.setattr(digest_cache, "MIN_STORED_BYTES", 0)
    monkeypatch.setattr(digest_cache, "_known", {})
    return paths


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock an hour ahead: files that tests have just written count as unchanged for long."""
    now = time.time_ns
    monkeypatch.setattr("editor.io.digest_cache.time.time_ns", lambda: now() + 3600 * 10**9)


@pytest.mark.usefixtures("settled")
def test_each_version_of_a_file_is_hashed_once(tmp_path: Path, hashed: list[Path]) -> None:
    path = tmp_path / "weights"
    path.write_bytes(b"first")
    assert remembered_digest(path) == remembered_digest(path) == file_digest(path)
    assert len(hashed) == 1
    path.write_bytes(b"other")
    os.utime(path, ns=(0, 0))
    assert remembered_digest(path) == file_digest(path)
    assert len(hashed) == 2


@pytest.mark.usefixtures("settled")
def test_another_process_reads_the_stored_digest(
    tmp_path: Path, hashed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, folder = tmp_path / "weights", tmp_path / "digests"
    path.write_bytes(b"weights")
    digest = remembered_digest(path, folder)
    monkeypatch.setattr(digest_cache, "_known", {})
    assert remembered_digest(path, folder) == digest
    assert len(hashed) == 1
    (record,) = folder.iterdir()
    record.write_text("damaged")
    monkeypatch.setattr(digest_cache, "_known", {})
    assert remembered_digest(path, folder) == digest
    assert record.read_text() == digest


def test_digest_of_a_file_that_has_just_changed_is_not_remembered(tmp_path: Path, hashed: list[Path]) -> None:
    path, folder = tmp_path / "weights", tmp_path / "digests"
    path.write_bytes(b"weights")
    remembered_digest(path, folder)
    remembered_digest(path, folder)
    assert len(hashed) == 2
    assert not folder.exists()
