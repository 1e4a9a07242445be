"""Files that are not stored: the base model's bytes with those of a delta in place, put together as they are read."""

import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from api_schemas.overlays import Overlay, Segment
from service.core.digest_cache import FileDigests, State, state_of
from service.errors import BaseModelChanged
from service.store.blobs import CHUNK, ArtifactStore


class OverlayFiles:
    """Opens overlays. A base file whose time does not say that it is untouched is hashed."""

    def __init__(self, blobs: ArtifactStore, digests: FileDigests | None = None) -> None:
        self._blobs = blobs
        self._digests = digests or FileDigests()

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
        found, state = os.fstat(base.fileno()), state_of(base)
        if found.st_size != overlay.base_size:
            raise _changed(overlay, f"has {found.st_size} bytes, not {overlay.base_size}")
        if not overlay.is_untouched(found) and self._digests.of(base) != overlay.base_sha256:
            raise _changed(overlay, "has other contents")
        return state

    def _chunks(self, overlay: Overlay, base: BufferedReader, state: State, start: int, end: int) -> Iterator[bytes]:
        with base:
            for segment in overlay.within(start, end):
                if segment.source == "delta":
                    yield from self._blobs.open(overlay.delta_sha256, segment.start, segment.end)
                    continue
                for chunk in _read(base, segment):
                    if not chunk or state_of(base) != state:
                        raise _changed(overlay, "has changed while it was read")
                    yield chunk


def _read(file: BufferedReader, segment: Segment) -> Iterator[bytes]:
    """The segment, a chunk at a time; nothing where the file has ended."""
    file.seek(segment.start)
    for at in range(segment.start, segment.end, CHUNK):
        yield file.read(min(CHUNK, segment.end - at))


def _changed(overlay: Overlay, why: str) -> BaseModelChanged:
    return BaseModelChanged(
        f"the base model's file {overlay.base} {why}.",
        remedy="Have the operator put the base model back, or take delta.safetensors and apply it to your own copy.",
    )
