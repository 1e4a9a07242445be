"""What files of a base model hash to: told by who registered it, else found out once for each state of a file."""

import hashlib
import os
import threading
from io import BufferedReader
from typing import TypeAlias

State: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size and time of a file: another content has another state."""


class FileDigests:
    """Remembers digests by state, so that a file is read once however often it is asked for."""

    def __init__(self) -> None:
        self._known: dict[State, str] = {}
        self._one_hashes = threading.Lock()

    def of(self, file: BufferedReader) -> str:
        """The file's sha256."""
        state = state_of(file)
        with self._one_hashes:
            if state not in self._known:
                file.seek(0)
                self._known[state] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._known[state]


def state_of(file: BufferedReader) -> State:
    """What the file is now."""
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
