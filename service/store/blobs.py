"""Content-addressed files: `<root>/sha256/ab/abcdef…`. A blob's name is its content, so it is never replaced.

A blob appears under its name only when all of it is on the disk: write, fsync, rename, fsync of the folder. A
crash anywhere leaves at most a stray file in `<root>/incoming`, which nothing refers to. `service.store.s3` keeps
blobs in a bucket instead.
"""

import fcntl
import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Protocol

from service.store.errors import BlobCorrupted, BlobMissing
from service.store.failpoints import failpoint

CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Blob:
    """What `put` stored."""

    sha256: str
    size: int


@dataclass(frozen=True)
class BlobEntry:
    """What lies in the store. `modified_at`: when it was last put; stray files, whose `sha256` is empty, have a time too."""

    sha256: str
    size: int
    modified_at: datetime
    location: str


class ArtifactStore(Protocol):
    """Where published bytes live."""

    def put(self, source: IO[bytes]) -> Blob:
        """Store all of it, durably. Storing the same bytes again changes nothing."""

    def open(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive), in chunks. Raises `BlobMissing` at once, `BlobCorrupted` on the way."""

    def url(self, sha256: str, seconds: int) -> str | None:
        """Where anybody can read it for so long; None: only through `open`."""

    def each(self) -> Iterator[BlobEntry]:
        """Everything that lies there, what a crash left behind included."""

    def delete(self, stored: BlobEntry, before: datetime) -> bool:
        """Remove it, unless it has been put again since `before`. Returns whether it is gone."""

    def check(self) -> None:
        """Raise unless blobs can be written."""


class LocalBlobs:
    """An `ArtifactStore` in a folder."""

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
            raise BlobMissing(f"blob {sha256} is not in the store.", remedy="Run: expunge fsck") from error
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
        with self._locked(fcntl.LOCK_EX):
            if not path.exists() or _entry(stored.sha256, path).modified_at >= before:
                return False
            path.unlink()
        return True

    def check(self) -> None:
        """See `ArtifactStore.check`."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._incoming):
            pass

    def path(self, sha256: str) -> Path:
        """Where a blob lies, or would."""
        return self._root / "sha256" / sha256[:2] / sha256

    def _publish(self, staged: Path, blob: Blob) -> None:
        target = self.path(blob.sha256)
        with self._locked(fcntl.LOCK_SH):
            if target.exists():
                target.touch()  # it was put just now, so nobody takes it for rubbish
                return
            _make_durable_folder(target.parent)
            staged.rename(target)
        failpoint("blob.renamed")
        _sync_folder(target.parent)

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Nothing is removed (exclusive) while something is put (shared)."""
        folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(folder, kind)
            yield
        finally:
            os.close(folder)


def _entry(sha256: str, path: Path) -> BlobEntry:
    found = path.stat()
    return BlobEntry(sha256, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC), str(path))


def _read(file: IO[bytes], sha256: str, start: int, end: int) -> Iterator[bytes]:
    with file:
        file.seek(start)
        while start < end:
            chunk = file.read(min(CHUNK_BYTES, end - start))
            if not chunk:
                raise BlobCorrupted(f"blob {sha256} ends at byte {start}.")
            start += len(chunk)
            yield chunk


def copy_and_hash(source: IO[bytes], target: IO[bytes]) -> Blob:
    """All bytes, and what they hash to."""
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK_BYTES):
        digest.update(chunk)
        size += target.write(chunk)
    return Blob(digest.hexdigest(), size)


def _make_durable_folder(folder: Path) -> None:
    """`mkdir -p` whose result survives a power cut."""
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
