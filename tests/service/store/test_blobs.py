"""Blob stores: a blob exists completely or not at all."""

import hashlib
import io
import os
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from service.store.blobs import CHUNK_BYTES, ArtifactStore, LocalBlobs
from service.store.errors import BlobCorrupted, BlobMissing
from service.store.s3 import S3Blobs

DATA = b"weights" * 400_000


def list_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return S3Blobs(request.getfixturevalue("bucket")) if request.param == "bucket" else LocalBlobs(tmp_path)


def test_put_and_open(store: ArtifactStore) -> None:
    blob = store.put(io.BytesIO(DATA))
    assert (blob.sha256, blob.size) == (hashlib.sha256(DATA).hexdigest(), len(DATA))
    assert b"".join(store.open(blob.sha256, 0, len(DATA))) == DATA
    assert b"".join(store.open(blob.sha256, 5, CHUNK_BYTES + 9)) == DATA[5 : CHUNK_BYTES + 9]
    assert b"".join(store.open(blob.sha256, 7, 7)) == b""
    store.check()


def test_equal_bytes_are_stored_once(store: ArtifactStore) -> None:
    first, second = store.put(io.BytesIO(DATA)), store.put(io.BytesIO(DATA))
    assert first == second
    assert [found.sha256 for found in store.each()] == [first.sha256]


def test_empty_range_returns_no_bytes(store: ArtifactStore) -> None:
    with pytest.raises(BlobMissing):
        store.open("0" * 64, 0, 10)


def test_delete_does_not_remove_recently_stored_blobs(store: ArtifactStore) -> None:
    store.put(io.BytesIO(DATA))
    (found,) = store.each()
    assert not store.delete(found, before=found.modified_at)
    assert store.delete(found, before=found.modified_at + timedelta(seconds=1))
    assert not store.delete(found, before=found.modified_at + timedelta(seconds=1))
    assert list(store.each()) == []


def test_put_renews_the_modification_time(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    path = blobs.path(blobs.put(io.BytesIO(DATA)).sha256)
    os.utime(path, (0, 0))
    (old,) = blobs.each()
    blobs.put(io.BytesIO(DATA))
    assert not blobs.delete(old, before=old.modified_at + timedelta(days=1))


def test_bucket_urls_expire(bucket: str) -> None:
    blobs = S3Blobs(bucket)
    blob = blobs.put(io.BytesIO(DATA))
    url = blobs.url(blob.sha256, 60)
    assert url
    assert "X-Amz-Expires=60" in url
    reply = httpx.get(url, headers={"Range": "bytes=5-11"}, trust_env=False)
    assert (reply.status_code, reply.content) == (206, DATA[5:12])


def test_local_store_has_no_urls(tmp_path: Path) -> None:
    assert LocalBlobs(tmp_path).url("0" * 64, 60) is None


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.rename"])
def test_crash_before_rename_leaves_no_blob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Not even a partial file is left if the process can clean up."""
    blobs = LocalBlobs(tmp_path)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(call, crash)
    with pytest.raises(KeyboardInterrupt):
        blobs.put(io.BytesIO(DATA))
    assert not blobs.path(hashlib.sha256(DATA).hexdigest()).exists()
    assert list_files(tmp_path) == []
    monkeypatch.undo()
    assert blobs.put(io.BytesIO(DATA)).size == len(DATA)


def test_bytes_are_synced_before_the_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    rename = Path.rename
    monkeypatch.setattr("os.fsync", lambda handle: calls.append("fsync"))
    monkeypatch.setattr(Path, "rename", lambda self, target: (calls.append("rename"), rename(self, target)))
    LocalBlobs(tmp_path).put(io.BytesIO(b"x"))
    at = calls.index("rename")
    assert "fsync" in calls[:at]
    assert calls[at + 1 :] == ["fsync"]


def test_truncated_blob_is_detected(tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path)
    blob = blobs.put(io.BytesIO(DATA))
    blobs.path(blob.sha256).write_bytes(DATA[:100])
    with pytest.raises(BlobCorrupted):
        list(blobs.open(blob.sha256, 0, len(DATA)))
