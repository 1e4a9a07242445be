"""Versions of files: another version means other contents, and is known without reading them."""

from pathlib import Path
from typing import TypeAlias

FileVersion: TypeAlias = tuple[int, int, int, int, int]
"""Device, inode, size, and the times (ns) of the last change of content and of metadata."""
ModelVersion: TypeAlias = tuple[tuple[str, FileVersion], ...]
"""The version of each file of a model, by its path."""


def file_version(path: Path) -> FileVersion:
    """Return the version of a file. Other contents have another version, unless the clock or the disk is tampered with."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def existing_version(path: Path) -> FileVersion | None:
    """Return the version of a file; None if it does not exist."""
    return file_version(path) if path.is_file() else None


def model_version(path: Path) -> ModelVersion:
    """Return the version of every file in a folder; of a single file and the files beside it, which may belong to it."""
    found = path.rglob("*") if path.is_dir() else path.parent.glob("*")
    return tuple((str(file), file_version(file)) for file in sorted(found) if file.is_file())
