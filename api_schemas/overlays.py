"""An overlay: a base file with byte ranges replaced. It publishes full weights without storing them.

The editor computes it, the store keeps it as JSON, and the service streams the file. An edit of a 7 GB checkpoint then takes
a few megabytes of delta.
"""

import os
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

Source = Literal["base", "delta"]


class OverlayModel(BaseModel):
    """Base of the overlay models: immutable, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Segment(OverlayModel):
    """Bytes ``start`` to ``end`` (exclusive) of the base file or of the delta."""

    source: Source
    start: NonNegativeInt
    end: NonNegativeInt

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.end - self.start


class Overlay(OverlayModel):
    """A published file as a sequence of segments, with the state of the base file when its digest was computed."""

    base: str = Field(description="Path of the base file inside the model, with forward slashes.")
    base_sha256: str
    base_size: int
    base_mtime_ns: int = Field(
        description="If the base file has another modification time, it is hashed before it is used."
    )
    delta_sha256: str = Field(description="Digest of the delta that segments refer to.")
    segments: tuple[Segment, ...]
    sha256: str = Field(description="Digest of the assembled file.")

    @property
    def size(self) -> int:
        """Size of the assembled file in bytes."""
        return sum(segment.size for segment in self.segments)

    def within(self, start: int, end: int) -> Iterator[Segment]:
        """Yield the segments, trimmed, that make up bytes ``start`` to ``end`` (exclusive) of the file."""
        offset = 0
        for segment in self.segments:
            first, last = max(start - offset, 0), min(end - offset, segment.size)
            if first < last:
                yield Segment(source=segment.source, start=segment.start + first, end=segment.start + last)
            offset += segment.size

    def is_untouched(self, base: os.stat_result) -> bool:
        """Return whether size and modification time match the base file. If not, compare its digest."""
        return (base.st_size, base.st_mtime_ns) == (self.base_size, self.base_mtime_ns)
