"""A file that is a base file with byte ranges replaced: how full weights are published without being stored.

The editor plans it, the worker hands it on, the store keeps it as JSON, the service streams it. An edit of a 7 GB checkpoint
is then a few megabytes of delta and this.
"""

import os
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt

Source = Literal["base", "delta"]


class OverlayModel(BaseModel):
    """Base of an overlay's parts: immutable, no unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Segment(OverlayModel):
    """Bytes ``start`` to ``end`` (exclusive) of the base file or of the delta."""

    source: Source
    start: NonNegativeInt
    end: NonNegativeInt

    @property
    def size(self) -> int:
        """Bytes."""
        return self.end - self.start


class Overlay(OverlayModel):
    """One published file: its segments in order, and the base file as it was when the digest was taken."""

    base: str = Field(description="The base file's path inside the model, with forward slashes.")
    base_sha256: str
    base_size: int
    base_mtime_ns: int = Field(description="A base file of another time is hashed before it is used.")
    delta_sha256: str = Field(description="The delta that the segments refer to.")
    segments: tuple[Segment, ...]
    sha256: str = Field(description="Of the file that the segments make.")

    @property
    def size(self) -> int:
        """Bytes of the file that the segments make."""
        return sum(segment.size for segment in self.segments)

    def within(self, start: int, end: int) -> Iterator[Segment]:
        """The segments, cut, that make bytes ``start`` to ``end`` (exclusive) of the file."""
        at = 0
        for segment in self.segments:
            first, last = max(start - at, 0), min(end - at, segment.size)
            if first < last:
                yield Segment(source=segment.source, start=segment.start + first, end=segment.start + last)
            at += segment.size

    def is_untouched(self, base: os.stat_result) -> bool:
        """Whether size and time say that the base file is as it was. If not, its digest decides."""
        return (base.st_size, base.st_mtime_ns) == (self.base_size, self.base_mtime_ns)
