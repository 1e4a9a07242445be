"""SHA-256 digests of base model files, computed once for each state of a file."""

import hashlib
import os
import threading
from io import BufferedReader
from typing import TypeAlias

FileState: TypeAlias = tuple[int, int, int, int]
"""Device, inode, size and modification time (ns). A file with other contents has another state."""


class DigestCache:
    """Caches digests by file state."""

    def __init__(self) -> None:
        self._known: dict[FileState, str] = {}
        self._lock = threading.Lock()

    def sha256(self, file: BufferedReader) -> str:
        """Return the digest of an open file."""
        state = file_state(file)
        with self._lock:
            if state not in self._known:
                file.seek(0)
                self._known[state] = hashlib.file_digest(file, "sha256").hexdigest()
            return self._known[state]


def file_state(file: BufferedReader) -> FileState:
    """Return the current state of an open file."""
    stat = os.fstat(file.fileno())
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
