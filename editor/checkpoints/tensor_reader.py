"""Read tensors, or rows of them, from a safetensors file without mapping the file into memory.

The header is parsed once and the file stays open, so replacing the file on disk does not affect later reads.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from editor.checkpoints.safetensors_header import FileLayout, TensorSpan, open_for_reading, read_open_layout
from editor.errors import CheckpointError
from editor.io.digests import tensor_bytes

DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
"""Dtypes that an edit can read. Any other dtype means that the weights are quantised."""
CHUNK_BYTES = 1 << 20
"""Bytes in memory at a time when a tensor is hashed or compared."""


class TensorFile:
    """An open safetensors file. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = open_for_reading(path)
        self.layout: FileLayout = read_open_layout(self.file)

    def span(self, name: str) -> TensorSpan:
        """Return the span of a tensor. Raises CheckpointError if the file does not have it."""
        try:
            return self.layout.spans[name]
        except KeyError:
            raise CheckpointError(
                f"{self.path} has no tensor {name}.", field="model", remedy="Use the complete checkpoint."
            ) from None

    def read(self, name: str, start: int = 0, stop: int | None = None, out: Tensor | None = None) -> Tensor:
        """Read a tensor, or its rows ``start`` to ``stop``, in the dtype of the file; into ``out`` if it has that dtype."""
        span = self.span(name)
        shape = (len(range(*slice(start, stop).indices(span.shape[0]))), *span.shape[1:]) if span.shape else ()
        dtype = dtype_of(self.path, name, span)
        tensor = out if out is not None and out.dtype == dtype else torch.empty(shape, dtype=dtype)
        self.fill(tensor_bytes(tensor), span.start + start * row_bytes(span))
        return check_finite(self.path, name, tensor)

    def read_rows(self, name: str, ids: Tensor, start: int = 0) -> Tensor:
        """Read rows ``start + ids`` of a matrix, ``(len(ids), width)``. Each distinct row is read once.

        Raises:
            CheckpointError: an id is out of range, or the file can't be read.
        """
        span = self.span(name)
        distinct, inverse = torch.unique(ids, return_inverse=True)
        if len(distinct) and not 0 <= int(distinct[0]) <= int(distinct[-1]) < span.shape[0] - start:
            raise CheckpointError(
                f"Token id {int(distinct[-1])} is outside of the {span.shape[0]} rows of {name}.",
                field="model",
                remedy="Use the tokenizer that belongs to this model.",
            )
        rows = torch.empty((len(distinct), *span.shape[1:]), dtype=dtype_of(self.path, name, span))
        self.read_scattered(
            tensor_bytes(rows), [span.start + (start + row) * row_bytes(span) for row in distinct.tolist()]
        )
        return check_finite(self.path, name, rows)[inverse]

    def prefetch_rows(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """Tell the kernel that some rows will be read, so that it fetches them while other work goes on."""
        span = self.span(name)
        last = span.size if stop is None else stop * row_bytes(span)
        self.advise(span.start + start * row_bytes(span), last - start * row_bytes(span))

    def read_chunks(self, name: str, start: int = 0, stop: int | None = None) -> Iterator[bytearray]:
        """Read the bytes of a tensor, or of some of its rows, in chunks."""
        span = self.span(name)
        first = span.start + start * row_bytes(span)
        last = span.end if stop is None else span.start + stop * row_bytes(span)
        for offset in range(first, last, CHUNK_BYTES):
            yield self.read_bytes(offset, min(CHUNK_BYTES, last - offset))

    def fill(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer from the file, starting at ``offset``."""
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self.file.fileno(), [buffer[done:]], offset + done)
            except OSError as error:
                raise CheckpointError(
                    f"{self.path} can't be read: {error}.",
                    field="model",
                    remedy="Check that the file is readable.",
                ) from error
            if not count:
                raise CheckpointError(
                    f"{self.path} ends early: it was truncated after it was opened.",
                    field="model",
                    remedy="Download the file again.",
                )
            done += count

    def read_scattered(self, buffer: memoryview, offsets: list[int]) -> None:
        """Fill a buffer with equally long ranges of the file. The kernel prefetches them in parallel."""
        width = len(buffer) // max(1, len(offsets))
        for offset in offsets:
            self.advise(offset, width)
        for index, offset in enumerate(offsets):
            self.fill(buffer[index * width : (index + 1) * width], offset)

    def advise(self, offset: int, count: int) -> None:
        """Ask the kernel to prefetch a byte range, on systems that support it."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.file.fileno(), offset, count, os.POSIX_FADV_WILLNEED)

    def read_bytes(self, offset: int, count: int) -> bytearray:
        """Read ``count`` bytes of the file."""
        buffer = bytearray(count)
        self.fill(memoryview(buffer), offset)
        return buffer


def row_bytes(span: TensorSpan) -> int:
    """Return the size of one row in bytes."""
    return span.size // span.shape[0] if span.shape and span.shape[0] else 0


def dtype_of(path: Path, name: str, span: TensorSpan) -> torch.dtype:
    """Return the torch dtype of a tensor. Raises CheckpointError if it is not a floating-point dtype."""
    try:
        return DTYPES[span.dtype]
    except KeyError:
        raise CheckpointError(
            f"{name} in {path} is {span.dtype}: quantised weights can't be edited.",
            field="model",
            remedy="Use the checkpoint in fp16, bf16 or fp32.",
        ) from None


def check_finite(path: Path, name: str, tensor: Tensor) -> Tensor:
    """Return the tensor unchanged. Raises CheckpointError if it contains NaN or infinity."""
    # Minimum and maximum are NaN if any element is. One pass without a temporary takes a tenth of the time of isfinite().all().
    if tensor.numel() and not torch.stack(torch.aminmax(tensor)).isfinite().all():
        raise CheckpointError(
            f"{name} in {path} contains NaN or infinite values.", field="model", remedy="Use an intact checkpoint."
        )
    return tensor
