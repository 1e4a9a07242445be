"""Check that a folder's disk has space."""

import os
import tempfile
from pathlib import Path

CHECKED_BYTES = 65_536
"""Bytes that a check writes: more than one request writes to the database."""


def check_disk_space(folder: Path) -> None:
    """Write a temporary file and delete it. Raises `OSError`, with `errno.ENOSPC` if the disk is full."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(CHECKED_BYTES))
        file.flush()
        os.fsync(file.fileno())
