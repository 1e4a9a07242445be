"""Workers share content through the bucket, and go on without it."""

import io
import time
from datetime import timedelta
from pathlib import Path

import pytest

from service.store import bucket_cache, retention
from service.store.bucket_cache import BucketCache
from service.store.clock import utc_now
from service.store.s3 import S3Blobs
from service.store.settings import StoreSettings

KEY = "ab" * 32


def test_content_is_shared_until_it_expires(bucket: str) -> None:
    BucketCache(bucket).put(KEY, b"image")
    cache = BucketCache(bucket)
    assert cache.get(KEY) == b"image"
    assert cache.get("cd" * 32) is None
    assert cache.expire(utc_now()) == 0
    assert cache.expire(utc_now() + bucket_cache.MAX_AGE + timedelta(minutes=1)) == 1
    assert cache.get(KEY) is None


def test_cached_content_is_no_blob(bucket: str) -> None:
    """Garbage collection and `fsck` list blobs; the cache has its own expiry."""
    BucketCache(bucket).put(KEY, b"image")
    assert BucketCache(bucket).get(KEY)
    blobs = S3Blobs(bucket)
    stored = blobs.put(io.BytesIO(b"weights"))
    assert [entry.sha256 for entry in blobs.each()] == [stored.sha256]


def test_maintenance_expires_the_cache(bucket: str, tmp_path: Path) -> None:
    settings = StoreSettings(data_dir=tmp_path, blobs_url=bucket)
    settings.database().prepare()
    BucketCache(bucket).put(KEY, b"image")
    later = utc_now() + bucket_cache.MAX_AGE + timedelta(minutes=1)
    retention.run_maintenance(settings, later, dry_run=True)
    assert BucketCache(bucket).get(KEY) == b"image"
    retention.run_maintenance(settings, later)
    assert BucketCache(bucket).get(KEY) is None


def test_unreachable_bucket_is_a_miss(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "c", "AWS_ALLOW_HTTP": "true"}
    for name, value in (variables | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}).items():
        monkeypatch.setenv(name, value)
    cache, started = BucketCache("s3://bucket/prefix"), time.monotonic()
    cache.put(KEY, b"image")
    assert cache.get(KEY) is None
    assert time.monotonic() - started < 10


def test_data_folder_needs_no_shared_cache(tmp_path: Path) -> None:
    assert StoreSettings(data_dir=tmp_path).bucket_cache() is None
