"""SHA-256 digests of text, files, streams and tensors, as lower-case hexadecimal."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # signing keys need digests, but not torch
    from torch import Tensor


def sha256_hex(content: bytes | str) -> str:
    """Return the digest of bytes, or of text in UTF-8."""
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def salted_digest(salt: str, text: str) -> str:
    """Return the digest of a salt (hexadecimal) and text. Without the salt, the text cannot be confirmed by guessing."""
    return sha256_hex(bytes.fromhex(salt) + text.encode())


def stream_digest(chunks: Iterable[bytes | bytearray | memoryview]) -> str:
    """Return the digest of the concatenated chunks."""
    total = hashlib.sha256()
    for chunk in chunks:
        total.update(chunk)
    return total.hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensor_bytes(tensor: "Tensor") -> memoryview:
    """Return the memory of a contiguous CPU tensor, writable, without a copy."""
    import torch

    array: Any = tensor.reshape(-1).view(torch.uint8).numpy()
    return memoryview(array).cast("B")


def tensor_digest(tensor: "Tensor") -> str:
    """Return the digest of a tensor's bytes as a safetensors file stores them. The dtype counts, the shape does not."""
    return hashlib.sha256(tensor_bytes(tensor.contiguous())).hexdigest()
