"""Blobs in an S3 bucket: `<prefix>/sha256/ab/abcdef…`. A put is atomic, and durable when it returns.

Uses obstore: typed, without dependencies, multipart uploads with retries. Credentials and endpoint come from the usual
`AWS_*` variables.
"""

import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import IO, cast

import obstore
from obstore.store import S3Store, from_url

from service.store.blobs import CHUNK_BYTES, Blob, BlobEntry, copy_and_hash
from service.store.errors import BlobMissing
from service.store.failpoints import failpoint

CHECK_TIMEOUT = timedelta(seconds=2)
"""Time limit of a check, which is not retried."""


class S3Blobs:
    """An `ArtifactStore` in a bucket."""

    def __init__(self, url: str) -> None:
        self._store = cast(S3Store, from_url(url))
        self._checked_store = cast(
            S3Store, from_url(url, retry_config={"max_retries": 0, "retry_timeout": CHECK_TIMEOUT})
        )

    def put(self, source: IO[bytes]) -> Blob:
        """See `ArtifactStore.put`. The digest is known only at the end, so the bytes are staged in a temporary file.

        An existing blob is stored again: its new time protects it from garbage collection.
        """
        with tempfile.TemporaryFile() as staged:
            blob = copy_and_hash(source, staged)
            failpoint("blob.written")
            staged.seek(0)
            obstore.put(self._store, _key(blob.sha256), staged)
        failpoint("blob.renamed")
        return blob

    def open(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """See `ArtifactStore.open`."""
        if start >= end:
            return iter(())
        try:
            reply = obstore.get(self._store, _key(sha256), options={"range": (start, end)})
        except FileNotFoundError as error:
            raise BlobMissing(f"Blob {sha256} is not in the bucket.", remedy="Run: expunge fsck") from error
        return (bytes(chunk) for chunk in reply.stream(min_chunk_size=CHUNK_BYTES))

    def url(self, sha256: str, seconds: int) -> str | None:
        """See `ArtifactStore.url`."""
        return obstore.sign(self._store, "GET", _key(sha256), timedelta(seconds=seconds))

    def each(self) -> Iterator[BlobEntry]:
        """See `ArtifactStore.each`. Use a lifecycle rule of the bucket to remove interrupted multipart uploads."""
        for batch in obstore.list(self._store, "sha256"):
            for item in batch:
                name = item["path"].rpartition("/")[2]
                yield BlobEntry(name, item["size"], item["last_modified"], item["path"])

    def delete(self, stored: BlobEntry, before: datetime) -> bool:
        """See `ArtifactStore.delete`."""
        try:
            if obstore.head(self._store, stored.location)["last_modified"] >= before:
                return False
        except FileNotFoundError:
            return False
        obstore.delete(self._store, stored.location)
        return True

    def check(self) -> None:
        """See `ArtifactStore.check`."""
        obstore.put(self._checked_store, "check", b"")


def _key(sha256: str) -> str:
    return f"sha256/{sha256[:2]}/{sha256}"
