"""Fetches blobs into files."""

import hashlib
from pathlib import Path

from service.store.blobs import ArtifactStore
from service.store.errors import BlobCorrupted


def fetch_blob(blobs: ArtifactStore, sha256: str, size: int, path: Path) -> Path:
    """Write a blob to a file and return its path. Raises `BlobMissing`, `BlobCorrupted`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with path.open("wb") as target:
        for chunk in blobs.open(sha256, 0, size):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != sha256:
        raise BlobCorrupted(f"The bytes of blob {sha256} have a different digest.", remedy="Run: expunge fsck")
    return path
