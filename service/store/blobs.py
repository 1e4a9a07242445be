"""Content-addressed files: `<root>/sha256/ab/abcdef…`. A blob's name is its digest, so it is never overwritten.

A blob appears under its name only once it is entirely on disk: write, fsync, rename, fsync of the folder. A crash leaves at
most an unreferenced file in `<root>/incoming`. `service.store.s3` stores blobs in a bucket instead.
"""

import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

from service.store.disk_space import check_disk_space
from service.store.errors import BlobCorrupted, BlobMissing
from service.store.failpoints import failpoint

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Blob:
    """Digest and size of a stored blob."""

    sha256: str
    size: int


@dataclass(frozen=True)
class BlobEntry:
    """An entry of the store. `sha256` is empty for files that an interrupted `put` left behind."""

    sha256: str
    size: int
    modified_at: datetime
    location: str


class ArtifactStore(Protocol):
    """Protocol of a blob store."""

    def put(self, source: IO[bytes]) -> Blob:
        """Store all bytes of the source durably. Storing the same bytes again changes nothing."""

    def open(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """Iterate over bytes `start` to `end` (exclusive). Raises `BlobMissing` at once, `BlobCorrupted` while reading."""

    def url(self, sha256: str, seconds: int) -> str | None:
        """Return a public URL that is valid for `seconds`, or None if the store has none and `open` must be used."""

    def each(self) -> Iterator[BlobEntry]:
        """Iterate over all entries, including what interrupted `put` calls left behind."""

    def delete(self, stored: BlobEntry, before: datetime) -> bool:
        """Delete the entry unless it was stored again since `before`. Returns whether it was deleted."""

    def check(self) -> None:
        """Raise if blobs cannot be written."""


class LocalBlobs:
    """An `ArtifactStore` in a local folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / "incoming"

    def put(self, source: IO[bytes]) -> Blob:
        """See `ArtifactStore.put`."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        staged = self._incoming / secrets.token_hex(16)
        try:
            with staged.open("xb") as file:
                blob = copy_and_hash(source, file)
                failpoint("blob.written")
                file.flush()
                os.fsync(file.fileno())
            failpoint("blob.synced")
            self._publish(staged, blob)
        finally:
            staged.unlink(missing_ok=True)
        return blob

    def open(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """See `ArtifactStore.open`."""
        try:
            file = self.path(sha256).open("rb")
        except FileNotFoundError as error:
            raise BlobMissing(f"Blob {sha256} is not in the store.", remedy="Run: expunge fsck") from error
        return _read(file, sha256, start, end)

    def url(self, sha256: str, seconds: int) -> str | None:
        """See `ArtifactStore.url`."""
        return None

    def each(self) -> Iterator[BlobEntry]:
        """See `ArtifactStore.each`."""
        for path in self._incoming.glob("*"):
            yield _entry("", path)
        for path in self._root.glob("sha256/*/*"):
            yield _entry(path.name, path)

    def delete(self, stored: BlobEntry, before: datetime) -> bool:
        """See `ArtifactStore.delete`."""
        path = Path(stored.location)
        with self._lock(fcntl.LOCK_EX):
            if not path.exists() or _entry(stored.sha256, path).modified_at >= before:
                return False
            path.unlink()
        return True

    def check(self) -> None:
        """See `ArtifactStore.check`."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        check_disk_space(self._incoming)

    def path(self, sha256: str) -> Path:
        """Return the path of a blob, whether or not it exists."""
        return self._root / "sha256" / sha256[:2] / sha256

    def _publish(self, staged: Path, blob: Blob) -> None:
        target = self.path(blob.sha256)
        with self._lock(fcntl.LOCK_SH):
            if target.exists():
                target.touch()  # The new time protects it from garbage collection.
                return
            _make_durable_folder(target.parent)
            staged.rename(target)
        failpoint("blob.renamed")
        _sync_folder(target.parent)

    @contextmanager
    def _lock(self, kind: int) -> Iterator[None]:
        """Lock out deletions (exclusive) while blobs are stored (shared)."""
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, kind)
            yield
        finally:
            os.close(folder)


def _entry(sha256: str, path: Path) -> BlobEntry:
    stat = path.stat()
    return BlobEntry(sha256, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC), str(path))


def _read(file: IO[bytes], sha256: str, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK_BYTES, end - start))
            if not chunk:
                raise BlobCorrupted(f"Blob {sha256} ends at byte {start}.")
            start += len(chunk)
            yield chunk


def copy_and_hash(source: IO[bytes], target: IO[bytes]) -> Blob:
    """Copy all bytes and return their digest and size."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        size += target.write(chunk)
    return Blob(digest.hexdigest(), size)


def _make_durable_folder(folder: Path) -> None:
    """Create a folder and its parents and fsync each parent, so that they survive a power failure."""
    if not folder.exists():
        _make_durable_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
