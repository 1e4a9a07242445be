"""Content that workers share through the bucket: `<prefix>/cache/ab/abcdef…`, by the digest of what it was computed from.

Without a bucket, all workers have the same data folder, whose `cache` they share already.
"""

import logging
import os
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

PREFIX = "cache"
MAX_AGE = timedelta(days=30)
"""Older content is deleted; a worker that needs it computes it and stores it again."""
TIMEOUT = timedelta(seconds=10)
"""Time limit of a transfer with its retries: computing the content may be faster than a bucket that hangs."""
PAUSE_SECONDS = 60

T = TypeVar("T")

log = logging.getLogger(__name__)


class BucketCache:
    """Reads and writes cached content. Never raises when the bucket fails: that is a miss."""

    def __init__(self, url: str) -> None:
        self._paused_until = 0.0
        allow_http = os.environ.get("AWS_ALLOW_HTTP", "").lower() in (
            "1",
            "true",
        )  # Client options replace the variable.
        self._store: ObjectStore = from_url(
            url,
            client_options={"timeout": TIMEOUT, "allow_http": allow_http},
            retry_config={"max_retries": 1, "retry_timeout": TIMEOUT},
        )

    def get(self, key: str) -> bytes | None:
        """Return the content of a key, or None."""
        return self._attempt(lambda: bytes(obstore.get(self._store, _location(key)).bytes()))

    def put(self, key: str, content: bytes) -> None:
        """Store the content of a key."""
        self._attempt(lambda: obstore.put(self._store, _location(key), content))

    def expire(self, now: datetime) -> int:
        """Delete the content that was stored longer than `MAX_AGE` ago. Returns the number of entries."""
        expired = [
            item["path"]
            for batch in obstore.list(self._store, PREFIX)
            for item in batch
            if item["last_modified"] < now - MAX_AGE
        ]
        if expired:
            obstore.delete(self._store, expired)
        return len(expired)

    def _attempt(self, transfer: Callable[[], T]) -> T | None:
        """Return the result of a transfer, or None. After an error, the bucket is not asked again for `PAUSE_SECONDS`."""
        if time.monotonic() < self._paused_until:
            return None
        try:
            return transfer()
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            log.warning("the shared cache failed (%s); it is not used for %d s", type(error).__name__, PAUSE_SECONDS)
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            return None


def _location(key: str) -> str:
    return f"{PREFIX}/{key[:2]}/{key}"
