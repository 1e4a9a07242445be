"""Indexes of features, read from the blob store."""

from functools import lru_cache

from api_schemas.features import FeatureIndex
from service.store.blobs import ArtifactStore

CACHED_INDEXES = 4
"""Indexes that stay in memory: some have thousands of features."""


class FeatureIndexReader:
    """Reads indexes, and keeps the latest in memory: a blob never changes."""

    def __init__(self, blobs: ArtifactStore) -> None:
        self._blobs = blobs
        self.read = lru_cache(maxsize=CACHED_INDEXES)(self._read)

    def _read(self, sha256: str, size: int) -> FeatureIndex:
        return FeatureIndex.model_validate_json(b"".join(self._blobs.open(sha256, 0, size)))
