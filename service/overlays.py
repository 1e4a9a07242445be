"""Files that are not stored: the base model's bytes with those of a delta in place, put together as they are read."""

import hashlib
import os
import threading
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from api_schemas.overlays import Overlay, Segment
from service.errors import BaseModelChanged
from service.store.blobs import CHUNK, ArtifactStore

State = tuple[int, int, int, int]
"""Device, inode, size and time of a file: another content has another state."""


class OverlayFiles:
    """Opens overlays, and remembers what the base files hashed to whose time does not say that they are untouched."""

    def __init__(self, blobs: ArtifactStore) -> None:
        self._blobs = blobs
        self._digests: dict[State, str] = {}
        self._one_hashes = threading.Lock()

    def open(self, overlay: Overlay, folder: Path, start: int, end: int) -> Iterator[bytes]:
        """Bytes `start` to `end` (exclusive), in chunks; `folder` is the base model's.

        Raises `BaseModelChanged` at once when the base file is not the one that the edit was made from, and from the
        iterator when it changes meanwhile: a reply that breaks off is better than one with wrong bytes.
        """
        try:
            base = (folder / overlay.base).open("rb")
        except OSError as error:
            raise _changed(overlay, "cannot be read") from error
        try:
            state = self._checked(overlay, base)
        except BaseException:
            base.close()
            raise
        return self._chunks(overlay, base, state, start, end)

    def _checked(self, overlay: Overlay, base: BufferedReader) -> State:
        """Size and time are what they were, or else the digest is; returns the state that was looked at."""
        found, state = os.fstat(base.fileno()), _state(base)
        if found.st_size != overlay.base_size:
            raise _changed(overlay, f"has {found.st_size} bytes, not {overlay.base_size}")
        if not overlay.is_untouched(found) and self._digest(base) != overlay.base_sha256:
            raise _changed(overlay, "has other contents")
        return state

    def _digest(self, base: BufferedReader) -> str:
        state = _state(base)
        with self._one_hashes:
            if state not in self._digests:
                self._digests[state] = hashlib.file_digest(base, "sha256").hexdigest()
            return self._digests[state]

    def _chunks(self, overlay: Overlay, base: BufferedReader, state: State, start: int, end: int) -> Iterator[bytes]:
        with base:
            for segment in overlay.within(start, end):
                if segment.source == "delta":
                    yield from self._blobs.open(overlay.delta_sha256, segment.start, segment.end)
                    continue
                for chunk in _read(base, segment):
                    if not chunk or _state(base) != state:
                        raise _changed(overlay, "has changed while it was read")
                    yield chunk


def _read(file: BufferedReader, segment: Segment) -> Iterator[bytes]:
    """The segment, a chunk at a time; nothing where the file has ended."""
    file.seek(segment.start)
    for at in range(segment.start, segment.end, CHUNK):
        yield file.read(min(CHUNK, segment.end - at))


def _state(file: BufferedReader) -> State:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _changed(overlay: Overlay, why: str) -> BaseModelChanged:
    return BaseModelChanged(
        f"the base model's file {overlay.base} {why}.",
        remedy="Have the operator put the base model back, or take delta.safetensors and apply it to your own copy.",
    )
