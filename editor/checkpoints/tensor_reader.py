"""Tensors of a safetensors file by the exact bytes that are asked for: no map of the file, nothing kept in memory.

The header is parsed once and the file stays open, so a file that is replaced meanwhile does not mix into what was read.
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
"""What an edit can read. Anything else in a tensor that it needs means quantised weights."""
PIECE_BYTES = 1 << 20
"""Bytes in memory at a time where a tensor is only hashed."""


class TensorFile:
    """A safetensors file, open for reading ranges of it. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = open_for_reading(path)
        self.layout: FileLayout = read_open_layout(self.file)

    def span(self, name: str) -> TensorSpan:
        """Where a tensor lies. Raises CheckpointError: there is none."""
        try:
            return self.layout.spans[name]
        except KeyError:
            raise CheckpointError(f"{self.path} has no tensor {name}.", field="model") from None

    def read(self, name: str, start: int = 0, stop: int | None = None, out: Tensor | None = None) -> Tensor:
        """A tensor, or its rows ``start`` to ``stop``, in the dtype of the file; in ``out``, where that is of this dtype."""
        span = self.span(name)
        shape = (len(range(*slice(start, stop).indices(span.shape[0]))), *span.shape[1:]) if span.shape else ()
        dtype = dtype_of(self.path, name, span)
        tensor = out if out is not None and out.dtype == dtype else torch.empty(shape, dtype=dtype)
        self.fill(tensor_bytes(tensor), span.start + start * row_size(span))
        return check_finite(self.path, name, tensor)

    def rows(self, name: str, ids: Tensor, start: int = 0) -> Tensor:
        """Rows ``start + ids`` of a matrix, ``(len(ids), width)``; each distinct row is read once.

        Raises:
            CheckpointError: an id is not a row, or the file can't be read.
        """
        span = self.span(name)
        wanted, places = torch.unique(ids, return_inverse=True)
        if len(wanted) and not 0 <= int(wanted[0]) <= int(wanted[-1]) < span.shape[0] - start:
            raise CheckpointError(
                f"Token {int(wanted[-1])} is not among the {span.shape[0]} rows of {name}.",
                field="model",
                remedy="Use the tokenizer that belongs to this model.",
            )
        rows = torch.empty((len(wanted), *span.shape[1:]), dtype=dtype_of(self.path, name, span))
        self.gather(tensor_bytes(rows), [span.start + (start + row) * row_size(span) for row in wanted.tolist()])
        return check_finite(self.path, name, rows)[places]

    def expect(self, name: str, start: int = 0, stop: int | None = None) -> None:
        """Tell the kernel that some rows will be read, so that it fetches them while other work goes on."""
        span = self.span(name)
        last = span.size if stop is None else stop * row_size(span)
        self.advise(span.start + start * row_size(span), last - start * row_size(span))

    def pieces(self, name: str, start: int = 0, stop: int | None = None) -> Iterator[bytearray]:
        """The bytes of a tensor, or of some rows of it, a piece at a time."""
        span = self.span(name)
        first = span.start + start * row_size(span)
        last = span.end if stop is None else span.start + stop * row_size(span)
        for offset in range(first, last, PIECE_BYTES):
            yield self.piece(offset, min(PIECE_BYTES, last - offset))

    def fill(self, buffer: memoryview, offset: int) -> None:
        """Read as many bytes as the buffer holds."""
        done = 0
        while done < len(buffer):
            try:
                count = os.preadv(self.file.fileno(), [buffer[done:]], offset + done)
            except OSError as error:
                raise CheckpointError(f"{self.path} can't be read: {error}.", field="model") from error
            if not count:
                raise CheckpointError(f"{self.path} ends early.", field="model", remedy="Fetch it again.")
            done += count

    def gather(self, buffer: memoryview, offsets: list[int]) -> None:
        """Fill the buffer with equally long pieces. The kernel hears of them all first, and fetches them side by side."""
        width = len(buffer) // max(1, len(offsets))
        for offset in offsets:
            self.advise(offset, width)
        for index, offset in enumerate(offsets):
            self.fill(buffer[index * width : (index + 1) * width], offset)

    def advise(self, offset: int, count: int) -> None:
        """Some bytes will be read. Not every system can be told."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.file.fileno(), offset, count, os.POSIX_FADV_WILLNEED)

    def piece(self, offset: int, count: int) -> bytearray:
        """Some bytes of the file."""
        buffer = bytearray(count)
        self.fill(memoryview(buffer), offset)
        return buffer


def row_size(span: TensorSpan) -> int:
    """Bytes of one row."""
    return span.size // span.shape[0] if span.shape and span.shape[0] else 0


def dtype_of(path: Path, name: str, span: TensorSpan) -> torch.dtype:
    """The dtype, refused when it is not one of floating-point weights."""
    try:
        return DTYPES[span.dtype]
    except KeyError:
        raise CheckpointError(
            f"{name} in {path} is {span.dtype}: quantised weights can't be edited.",
            field="model",
            remedy="Use the checkpoint in fp16, bf16 or fp32.",
        ) from None


def check_finite(path: Path, name: str, tensor: Tensor) -> Tensor:
    """The tensor itself, refused when it holds NaN or infinity."""
    # Both are NaN where any element is; one pass without a temporary, a tenth of the time of isfinite().all().
    if tensor.numel() and not torch.stack(torch.aminmax(tensor)).isfinite().all():
        raise CheckpointError(
            f"{name} in {path} holds NaN or infinite values.", field="model", remedy="Use an intact checkpoint."
        )
    return tensor
