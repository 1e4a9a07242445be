"""SHA-256 digests of files, remembered by file version: in memory, and in a folder for the next process."""

import re
import time
from pathlib import Path

from editor.io.atomic import write_bytes
from editor.io.digests import file_digest, sha256_hex
from editor.io.file_version import FileVersion, file_version

SETTLED_SECONDS = 2.0
"""A file that changed more recently may change again without another time, so its digest is not remembered."""
MIN_STORED_BYTES = 16_000_000
"""Hashing a smaller file is as fast as reading its stored digest."""
DIGEST_FOLDER = "digests"
"""The folder inside a cache folder that stores digests."""
HEXADECIMAL_DIGEST = re.compile("[0-9a-f]{64}")

_known: dict[FileVersion, str] = {}


def remembered_digest(path: Path, folder: Path | None = None) -> str:
    """Return the digest of a file, hashing each version once.

    Args:
        path: the file.
        folder: stores the digests of large files; None: only the process remembers them.
    """
    version = file_version(path)
    if version in _known:
        return _known[version]
    record = folder / sha256_hex(repr(version)) if folder and path.stat().st_size >= MIN_STORED_BYTES else None
    digest = _stored_digest(record)
    if digest is None:
        digest = file_digest(path)
        if not _is_settled(version) or file_version(path) != version:
            return digest
        if record:
            write_bytes(record, digest.encode())
    _known[version] = digest
    return digest


def _stored_digest(record: Path | None) -> str | None:
    """Return the digest in a record; None if there is no record, or a damaged one."""
    if record is None or not record.is_file():
        return None
    text = record.read_text(errors="replace")
    return text if HEXADECIMAL_DIGEST.fullmatch(text) else None


def _is_settled(version: FileVersion) -> bool:
    """Whether the last change of a file is so long ago that the next one would have another time."""
    return max(version[3:]) < time.time_ns() - SETTLED_SECONDS * 1e9
