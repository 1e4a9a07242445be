"""Full weights that are not stored: they are assembled on the fly from the base model's file and the stored delta."""

import os
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from api_schemas.overlays import Overlay, Segment
from service.core.digest_cache import DigestCache, FileState, file_state
from service.errors import BaseModelChanged
from service.store.blobs import CHUNK_BYTES, ArtifactStore


class OverlayReader:
    """Reads overlays. A base file is hashed first if its modification time does not prove that it is unchanged."""

    def __init__(self, blobs: ArtifactStore, digests: DigestCache | None = None) -> None:
        self._blobs = blobs
        self._digests = digests or DigestCache()

    def open(self, overlay: Overlay, base_file: Path, start: int, end: int) -> Iterator[bytes]:
        """Return bytes `start` to `end` (exclusive) in chunks.

        Raises:
            BaseModelChanged: The base file is not the one that was edited. The iterator raises it when the file changes while
                it is read: an aborted response is better than one with wrong bytes.
        """
        try:
            base = base_file.open("rb")
        except OSError as error:
            raise _base_changed(overlay, "cannot be read") from error
        try:
            state = self._verify_base(overlay, base)
        except BaseException:
            base.close()
            raise
        return self._read_segments(overlay, base, state, start, end)

    def _verify_base(self, overlay: Overlay, base: BufferedReader) -> FileState:
        """Raise unless size and modification time, or else the digest, match. Return the state that was verified."""
        stat, state = os.fstat(base.fileno()), file_state(base)
        if stat.st_size != overlay.base_size:
            raise _base_changed(overlay, f"has {stat.st_size} bytes, not {overlay.base_size}")
        if not overlay.is_untouched(stat) and self._digests.sha256(base) != overlay.base_sha256:
            raise _base_changed(overlay, "has different contents")
        return state

    def _read_segments(
        self, overlay: Overlay, base: BufferedReader, state: FileState, start: int, end: int
    ) -> Iterator[bytes]:
        with base:
            for segment in overlay.within(start, end):
                if segment.source == "delta":
                    yield from self._blobs.open(overlay.delta_sha256, segment.start, segment.end)
                    continue
                for chunk in _read_segment(base, segment):
                    if not chunk or file_state(base) != state:
                        raise _base_changed(overlay, "changed while it was read")
                    yield chunk


def _read_segment(file: BufferedReader, segment: Segment) -> Iterator[bytes]:
    """Read a segment in chunks; chunks past the end of the file are empty."""
    file.seek(segment.start)
    for at in range(segment.start, segment.end, CHUNK_BYTES):
        yield file.read(min(CHUNK_BYTES, segment.end - at))


def _base_changed(overlay: Overlay, reason: str) -> BaseModelChanged:
    return BaseModelChanged(
        f"The base model's file {overlay.base} {reason}.",
        remedy="Ask the operator to restore the base model, or download delta.safetensors and apply it to your own copy.",
    )
