"""Write files atomically and durably."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces ``path`` when the block succeeds, and is deleted when the block raises.

    The temporary file is in the same folder, because a rename is atomic only within a file system. A killed process leaves
    at most a hidden ``.partial`` file that nothing refers to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        with staged.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        staged.replace(path)
    finally:
        staged.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically, in place of ``path.write_bytes``."""
    with open_atomic(path) as file:
        file.write(content)


def sync_folder(folder: Path) -> None:
    """Sync a folder to disk. A renamed file survives a power failure only after its folder is synced."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
