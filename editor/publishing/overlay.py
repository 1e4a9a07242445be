"""Full weights as an overlay: the base file with the byte ranges of the edited tensors replaced, streamed.

An edit keeps dtypes and shapes, so the header and all other bytes stay as they are: no tensor is decoded, and the kernel
copies what is not replaced.
"""

import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from api_schemas.overlays import Overlay, Segment
from editor.checkpoints.safetensors_header import Span, read_layout
from editor.errors import PublishingError

CHUNK = 1 << 22
"""Bytes in memory at a time."""
STEP = 1 << 28
"""Bytes that the kernel is asked for at once: often enough to tell how far it is."""
ALIGNED = 1 << 20
"""The kernel copies pieces of 64 KB; from an aligned start they are whole in its cache, which is a quarter faster."""
Advance = Callable[[int], object]
"""Told how many bytes have just been copied."""
NO_KERNEL_COPY = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
"""What ``copy_file_range`` answers where the two file systems can't do it."""


def segments_of(base: Path, replaced: Mapping[str, Span]) -> tuple[Segment, ...]:
    """The edited file as segments of ``base`` and of a delta.

    Args:
        base: a safetensors file; its header alone is read.
        replaced: name in ``base`` -> where the delta has the edited tensor.

    Raises:
        PublishingError: ``base`` has no such tensor, or has it in another dtype or shape.
    """
    places = read_layout(base).spans
    for name, piece in replaced.items():
        if name not in places or places[name].kind != piece.kind:
            raise PublishingError(
                f"{base} has no tensor {name} of {piece.dtype} {list(piece.shape)}.",
                field="model",
                remedy="Use the base model that the edit was made for.",
            )
    return tuple(joined(base.stat().st_size, sorted((places[n].start, places[n].end, p) for n, p in replaced.items())))


def joined(size: int, pieces: Iterable[tuple[int, int, Span]]) -> Iterator[Segment]:
    """``pieces`` (start and end in the base, place in the delta) and what lies between them."""
    at = 0
    for start, end, piece in pieces:
        yield Segment(source="base", start=at, end=start)
        yield Segment(source="delta", start=piece.start, end=piece.end)
        at = end
    yield Segment(source="base", start=at, end=size)


def located(model: Path, name: str) -> Path:
    """The file that a path inside the model means. A single-file model is meant whatever it is called by now."""
    return model if model.is_file() else model / name


def write_overlay(overlay: Overlay, model: Path, delta: Path, target: BinaryIO) -> None:
    """Copy a published file to ``target``, which has been opened and not written yet.

    Raises:
        PublishingError: the base file has changed since it was published.
    """
    base = located(model, overlay.base)
    if not overlay.is_untouched(base.stat()):
        raise PublishingError(
            f"{base} has changed since the edit was published.", field="model", remedy="Run the edit again."
        )
    write_segments(overlay.segments, base, delta, target)


def quietly(count: int) -> None:
    """Nobody wants to know."""


def write_segments(
    segments: Iterable[Segment], base: Path, delta: Path, target: BinaryIO, advance: Advance = quietly
) -> None:
    """Copy segments to ``target``, which has been opened and not written yet.

    Raises:
        PublishingError: ``base`` or ``delta`` ends early.
    """
    with base.open("rb") as original, delta.open("rb") as edited:
        sources = {"base": original, "delta": edited}
        for segment in segments:
            copy(sources[segment.source], target, segment.start, segment.size, advance)


def copy(source: BinaryIO, target: BinaryIO, start: int, count: int, advance: Advance = quietly) -> None:
    """Append ``count`` bytes of ``source``, from ``start``: by the kernel where it can, else through memory."""
    while count:
        done = copy_in_kernel(source, target, start, count) or copy_through_memory(source, target, start, count)
        start, count = start + done, count - done
        advance(done)


def copy_in_kernel(source: BinaryIO, target: BinaryIO, start: int, count: int) -> int:
    """As many bytes as the kernel copies at once; 0 where it can't (other file systems, other kernels)."""
    stretch = ALIGNED - start % ALIGNED if start % ALIGNED else STEP
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source.fileno(), target.fileno(), min(stretch, count), start)
    except OSError as error:
        if error.errno not in NO_KERNEL_COPY:
            raise
        return 0


def copy_through_memory(source: BinaryIO, target: BinaryIO, start: int, count: int) -> int:
    """A chunk. Raises PublishingError at the end of ``source``."""
    chunk = os.pread(source.fileno(), min(CHUNK, count), start)
    if not chunk:
        raise PublishingError(f"{source.name} ends early.", field="model", remedy="Fetch it again.")
    return os.write(target.fileno(), chunk)


def segments_digest(segments: Iterable[Segment], base: Path, delta: Path) -> str:
    """sha256 of the file that the segments make."""
    with base.open("rb") as original, delta.open("rb") as edited:
        sources = {"base": original, "delta": edited}
        return digest_of(chunk for s in segments for chunk in chunks(sources[s.source], s.start, s.end))


def digest_of(parts: Iterable[bytes]) -> str:
    """sha256 of bytes that come in parts."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def chunks(source: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Bytes ``start`` to ``end``, a chunk at a time. Raises PublishingError at an early end."""
    while start < end:
        chunk = os.pread(source.fileno(), min(CHUNK, end - start), start)
        if not chunk:
            raise PublishingError(f"{source.name} ends early.", field="model", remedy="Fetch it again.")
        start += len(chunk)
        yield chunk
