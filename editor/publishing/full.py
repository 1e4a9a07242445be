"""Full weights as an overlay: the base file with the byte ranges of the edited tensors replaced, streamed.

A safetensors file is 8 bytes of header length (little endian), a JSON header that gives each tensor's dtype, shape and
byte range, and the bytes. An edit keeps dtypes and shapes, so header and all other bytes stay as they are: no tensor is
decoded, and a 24 GB model needs a megabyte of memory. The standard library is all it takes.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from editor.errors import PublishingError
from editor.publishing.atomic import replacing, write_bytes

CHUNK = 1 << 20
"""Bytes in memory at a time."""
LENGTH_BYTES = 8
LONGEST_HEADER = 100_000_000
"""Bytes; the limit of the format itself."""


@dataclass(frozen=True)
class Span:
    """A tensor in a file: bytes ``start`` to ``end`` (exclusive), and what they mean."""

    start: int
    end: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def kind(self) -> tuple[str, tuple[int, ...]]:
        """What must agree for one tensor to take the place of another."""
        return self.dtype, self.shape


@dataclass(frozen=True)
class Layout:
    """A safetensors file's header."""

    metadata: dict[str, str]
    spans: dict[str, Span]


def read_layout(file: Path) -> Layout:
    """Read the header alone.

    Raises:
        PublishingError: not a safetensors file.
    """
    try:
        with file.open("rb") as source:
            length = int.from_bytes(source.read(LENGTH_BYTES), "little")
            return parse_layout(json.loads(source.read(min(length, LONGEST_HEADER))), LENGTH_BYTES + length)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PublishingError(
            f"{file} is not a readable safetensors file: {error}.", remedy="Fetch it again."
        ) from error


def parse_layout(header: dict[str, Any], origin: int) -> Layout:
    """The header's entries; offsets are counted from ``origin``."""
    metadata = header.pop("__metadata__", {})
    spans = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        spans[name] = Span(origin + start, origin + end, entry["dtype"], tuple(entry["shape"]))
    return Layout(metadata, spans)


def overlay(base: Path, patch: Path, target: BinaryIO) -> str:
    """Copy ``base`` to ``target`` with the tensors of ``patch`` in place; returns the sha256 of ``base``.

    Raises:
        PublishingError: a tensor of ``patch`` is not in ``base``, or is of another dtype or shape there.
    """
    digest = hashlib.sha256()

    def copy(count: int) -> None:
        for chunk in chunks(source, count):
            digest.update(chunk)
            target.write(chunk)

    def replace(place: Span, piece: Span) -> None:
        edited.seek(piece.start)
        target.writelines(chunks(edited, piece.end - piece.start))
        for chunk in chunks(source, place.end - place.start):
            digest.update(chunk)

    with base.open("rb") as source, patch.open("rb") as edited:
        for place, piece in matched(base, patch):
            copy(place.start - source.tell())
            replace(place, piece)
        copy(base.stat().st_size - source.tell())
    return digest.hexdigest()


def matched(base: Path, patch: Path) -> list[tuple[Span, Span]]:
    """For each tensor of ``patch`` its span in ``base`` and in ``patch``, in the order of ``base``."""
    places, pieces = read_layout(base).spans, read_layout(patch).spans
    for name, piece in pieces.items():
        if name not in places or places[name].kind != piece.kind:
            raise PublishingError(
                f"{base} has no tensor {name} of {piece.dtype} {list(piece.shape)}.",
                field="model",
                remedy="Use the base model that the edit was made for.",
            )
    return sorted(((places[name], piece) for name, piece in pieces.items()), key=lambda pair: pair[0].start)


def chunks(source: BinaryIO, count: int) -> Iterator[bytes]:
    """The next ``count`` bytes, a chunk at a time."""
    while count:
        chunk = source.read(min(CHUNK, count))
        if not chunk:
            raise PublishingError(f"{source.name} ends early.", field="model", remedy="Fetch it again.")
        count -= len(chunk)
        yield chunk


def write_full(base: Path, patch: Path, target: Path, digest: str) -> None:
    """Write the edited file as ``target``, and the base's ``config.json`` beside it.

    Raises:
        PublishingError: ``base`` does not hash to ``digest``, or lacks a tensor. Nothing is written then.
    """
    with replacing(target) as file:
        if overlay(base, patch, file) != digest:
            raise PublishingError(
                f"{base} is not the file that the edit was made for (sha256 {digest}).",
                field="model",
                remedy="Use that very base model, not another version or precision of it.",
            )
    config = base.with_name("config.json")
    if config.is_file():
        write_bytes(target.with_name("config.json"), config.read_bytes())
