"""Content-addressed files: `<root>/sha256/ab/abcdef…`. A blob's name is its content, so it is never replaced.

A blob appears under its name only when all of it is on the disk: write, fsync, rename, fsync of the folder. A
crash anywhere leaves at most a stray file in `<root>/incoming`, which nothing refers to.
"""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from service.store.errors import BlobCorrupted
from service.store.faults import reach

CHUNK = 1 << 20


@dataclass(frozen=True)
class Blob:
    """What `put` stored."""

    sha256: str
    size: int


class ArtifactStore(Protocol):
    """Where published bytes live."""

    def put(self, source: IO[bytes]) -> Blob:
        """Store all of it, durably. Storing the same bytes again changes nothing."""

    def open(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive), in chunks."""

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
                blob = _copy(source, file)
                reach("blob.written")
                file.flush()
                os.fsync(file.fileno())
            reach("blob.synced")
            self._publish(staged, blob)
        finally:
            staged.unlink(missing_ok=True)
        return blob

    def open(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """See `ArtifactStore.open`. Raises `BlobCorrupted` when the file is shorter than it was."""
        with self.path(sha256).open("rb") as file:
            file.seek(start)
            while start < end:
                chunk = file.read(min(CHUNK, end - start))
                if not chunk:
                    raise BlobCorrupted(f"blob {sha256} ends at byte {start}.")
                start += len(chunk)
                yield chunk

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
        if target.exists():
            return
        _make_durable_folder(target.parent)
        staged.rename(target)
        reach("blob.renamed")
        _sync_folder(target.parent)


def _copy(source: IO[bytes], target: IO[bytes]) -> Blob:
    digest, size = hashlib.sha256(), 0
    while chunk := source.read(CHUNK):
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
