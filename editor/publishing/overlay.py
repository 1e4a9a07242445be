"""Full weights as an overlay: the base file with the byte ranges of the edited tensors replaced, written as a stream.

An edit keeps dtypes and shapes, so the header and all other bytes are unchanged: no tensor is decoded, and the kernel copies
the bytes that are not replaced.
"""

import errno
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from pydantic import RootModel

from api_schemas.overlays import Overlay, Segment
from editor.checkpoints.safetensors_header import TensorSpan, read_layout
from editor.errors import PublishingError
from editor.io.digests import stream_digest
from editor.io.progress import check_canceled
from editor.publishing.filenames import OVERLAYS

Overlays = RootModel[dict[str, Overlay]]
"""By file name."""
CHUNK_BYTES = 1 << 22
"""Bytes that are held in memory at a time."""
KERNEL_COPY_BYTES = 1 << 28
"""Bytes that the kernel copies in one call; small enough to report progress."""
KERNEL_COPY_ALIGNMENT = 1 << 20
"""The kernel copies 64 KB at a time. An aligned start matches its page cache, which is a quarter faster."""
BytesCallback = Callable[[int], object]
"""Called with the number of bytes just copied."""
UNSUPPORTED_COPY_ERRNOS = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
"""Errors of ``copy_file_range`` if the file systems do not support it."""


def read_overlays(bundle: Path) -> dict[str, Overlay]:
    """Read how each file of a bundle that is published but not stored is assembled."""
    return Overlays.model_validate_json((bundle / OVERLAYS).read_bytes()).root


def plan_segments(base: Path, replaced: Mapping[str, TensorSpan]) -> tuple[Segment, ...]:
    """Return the edited file as segments of ``base`` and of a delta.

    Args:
        base: a safetensors file; only its header is read.
        replaced: name in ``base`` -> byte range of the edited tensor in the delta.

    Raises:
        PublishingError: ``base`` lacks one of the tensors, or has it in another dtype or shape.
    """
    places = read_layout(base).spans
    for name, piece in replaced.items():
        if name not in places or places[name].kind != piece.kind:
            raise PublishingError(
                f"{base} has no tensor {name} of {piece.dtype} {list(piece.shape)}.",
                field="model",
                remedy="Use the base model that was edited.",
            )
    return tuple(
        interleave(base.stat().st_size, sorted((places[n].start, places[n].end, p) for n, p in replaced.items()))
    )


def interleave(base_size: int, pieces: Iterable[tuple[int, int, TensorSpan]]) -> Iterator[Segment]:
    """Yield ``pieces`` (start and end in the base, byte range in the delta) and the segments of the base between them."""
    at = 0
    for start, end, piece in pieces:
        yield Segment(source="base", start=at, end=start)
        yield Segment(source="delta", start=piece.start, end=piece.end)
        at = end
    yield Segment(source="base", start=at, end=base_size)


def base_path(model: Path, name: str) -> Path:
    """Return the base file of a path inside the model. A single-file model may have been renamed."""
    return model if model.is_file() else model / name


def write_overlay(overlay: Overlay, model: Path, delta: Path, target: BinaryIO) -> None:
    """Write a published file to ``target``, an open, empty file.

    Raises:
        PublishingError: the base file has changed since it was published.
    """
    base = base_path(model, overlay.base)
    if not overlay.is_untouched(base.stat()):
        raise PublishingError(
            f"{base} has changed since the edit was published.", field="model", remedy="Run the edit again."
        )
    write_segments(overlay.segments, base, delta, target)


def no_progress(count: int) -> None:
    """Ignore progress."""


def write_segments(
    segments: Iterable[Segment], base: Path, delta: Path, target: BinaryIO, advance: BytesCallback = no_progress
) -> None:
    """Write segments to ``target``, an open, empty file.

    Raises:
        PublishingError: ``base`` or ``delta`` ends early.
    """
    with base.open("rb") as original, delta.open("rb") as edited:
        sources = {"base": original, "delta": edited}
        for segment in segments:
            copy_range(sources[segment.source], target, segment.start, segment.size, advance)


def copy_range(
    source: BinaryIO, target: BinaryIO, start: int, count: int, advance: BytesCallback = no_progress
) -> None:
    """Append ``count`` bytes of ``source`` from ``start`` on: in the kernel if possible, else through memory."""
    while count:
        done = copy_in_kernel(source, target, start, count) or copy_through_memory(source, target, start, count)
        start, count = start + done, count - done
        advance(done)
        check_canceled()


def copy_in_kernel(source: BinaryIO, target: BinaryIO, start: int, count: int) -> int:
    """Copy bytes in the kernel and return their number; 0 if the kernel or the file systems do not support it."""
    stretch = (
        KERNEL_COPY_ALIGNMENT - start % KERNEL_COPY_ALIGNMENT if start % KERNEL_COPY_ALIGNMENT else KERNEL_COPY_BYTES
    )
    if not hasattr(os, "copy_file_range"):
        return 0
    try:
        return os.copy_file_range(source.fileno(), target.fileno(), min(stretch, count), start)
    except OSError as error:
        if error.errno not in UNSUPPORTED_COPY_ERRNOS:
            raise
        return 0


def copy_through_memory(source: BinaryIO, target: BinaryIO, start: int, count: int) -> int:
    """Copy one chunk and return its size. Raises PublishingError: ``source`` ends early."""
    chunk = os.pread(source.fileno(), min(CHUNK_BYTES, count), start)
    if not chunk:
        raise PublishingError(f"{source.name} is truncated.", field="model", remedy="Download it again.")
    return os.write(target.fileno(), chunk)


def segments_digest(segments: Collection[Segment], base: Path, delta: Path) -> str:
    """Return the sha256 of the file that the segments make up. Reports the finished share of it."""
    with base.open("rb") as original, delta.open("rb") as edited:
        sources = {"base": original, "delta": edited}
        chunks = (chunk for one in segments for chunk in read_chunks(sources[one.source], one.start, one.end))
        return stream_digest(chunks, sum(one.size for one in segments))


def read_chunks(source: BinaryIO, start: int, end: int) -> Iterator[bytes]:
    """Yield the bytes ``start`` to ``end`` in chunks. Raises PublishingError: ``source`` ends early."""
    while start < end:
        chunk = os.pread(source.fileno(), min(CHUNK_BYTES, end - start), start)
        if not chunk:
            raise PublishingError(f"{source.name} is truncated.", field="model", remedy="Download it again.")
        start += len(chunk)
        yield chunk
