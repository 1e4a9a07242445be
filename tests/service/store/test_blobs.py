"""A blob is there completely, or not at all."""

import hashlib
import io
from pathlib import Path

import pytest

from service.store.blobs import CHUNK, LocalBlobs
from service.store.errors import BlobCorrupted

DATA = b"weights" * 400_000


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_is_put_can_be_read(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    blob = blobs.put(io.BytesIO(DATA))
    assert (blob.sha256, blob.size) == (hashlib.sha256(DATA).hexdigest(), len(DATA))
    assert b"".join(blobs.open(blob.sha256, 0, len(DATA))) == DATA
    assert b"".join(blobs.open(blob.sha256, 5, CHUNK + 9)) == DATA[5 : CHUNK + 9]


def test_the_same_bytes_are_stored_once(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    first, second = blobs.put(io.BytesIO(DATA)), blobs.put(io.BytesIO(DATA))
    assert first == second
    assert files_below(tmp_path) == [blobs.path(first.sha256)]


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.rename"])
def test_a_crash_before_the_rename_leaves_no_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Not even a stray file when we get to clean up; after a power cut one may stay, under a name nobody asks for."""
    blobs = LocalBlobs(tmp_path)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(call, crash)
    with pytest.raises(KeyboardInterrupt):
        blobs.put(io.BytesIO(DATA))
    assert not blobs.path(hashlib.sha256(DATA).hexdigest()).exists()
    assert files_below(tmp_path) == []
    monkeypatch.undo()
    assert blobs.put(io.BytesIO(DATA)).size == len(DATA)


def test_bytes_are_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    rename = Path.rename
    monkeypatch.setattr("os.fsync", lambda handle: calls.append("fsync"))
    monkeypatch.setattr(Path, "rename", lambda self, target: (calls.append("rename"), rename(self, target)))
    LocalBlobs(tmp_path).put(io.BytesIO(b"x"))
    at = calls.index("rename")
    assert "fsync" in calls[:at]
    assert calls[at + 1 :] == ["fsync"]


def test_a_truncated_blob_is_noticed(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    blob = blobs.put(io.BytesIO(DATA))
    blobs.path(blob.sha256).write_bytes(DATA[:100])
    with pytest.raises(BlobCorrupted):
        list(blobs.open(blob.sha256, 0, len(DATA)))
