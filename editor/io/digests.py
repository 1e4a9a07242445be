"""SHA-256 digests of text, files, streams and tensors, as lower-case hexadecimal."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editor.io.progress import check_canceled, report_fraction

if TYPE_CHECKING:  # signing keys need digests, but not torch
    from torch import Tensor

CHUNK_BYTES = 1 << 20
"""Bytes of a file that are in memory at a time."""


def sha256_hex(content: bytes | str) -> str:
    """Return the digest of bytes, or of text in UTF-8."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def salted_digest(salt: str, text: str) -> str:
    """Return the digest of a salt (hexadecimal) and text. Without the salt, the text cannot be confirmed by guessing."""
    return sha256_hex(bytes.fromhex(salt) + text.encode())


def stream_digest(chunks: Iterable[bytes | bytearray | memoryview], size: int | None = None) -> str:
    """Return the digest of the concatenated chunks. If their size in bytes is given, reports the finished share of it."""
    total, done = hashlib.sha256(), 0
    for chunk in chunks:
        total.update(chunk)
        done += len(chunk)
        if size:
            report_fraction(done / size)
        else:
            check_canceled()
    return total.hexdigest()


def file_digest(path: Path, *, report: bool = False) -> str:
    """Return the digest of a file. Reports the finished share of it if ``report`` is set."""
    return stream_digest(read_chunks(path), path.stat().st_size if report else None)


def read_chunks(path: Path) -> Iterator[memoryview]:
    """Yield the contents of a file. Each chunk is valid until the next one is read."""
    buffer = memoryview(bytearray(CHUNK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            yield buffer[:count]


def tensor_bytes(tensor: "Tensor") -> memoryview:
    """Return the memory of a contiguous CPU tensor, writable, without a copy."""
    import torch

    array: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(array).cast("B")


def tensor_digest(tensor: "Tensor") -> str:
    """Return the digest of a tensor's bytes as a safetensors file stores them. The dtype counts, the shape does not."""
    return hashlib.sha256(tensor_bytes(tensor.contiguous())).hexdigest()
