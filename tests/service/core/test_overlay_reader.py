"""Full weights that are assembled while they are read: correct bytes, or an error with a reason."""

import hashlib
import io
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from api_schemas.edits import EditRequest, Removal
from api_schemas.overlays import Overlay, Segment
from service.core import digest_cache
from service.core.app_state import AppState
from service.core.overlay_reader import OverlayReader
from service.errors import BaseModelChanged
from service.store import claims, jobs
from service.store.blobs import LocalBlobs
from service.store.claims import StoredArtifact
from service.store.jobs import NewJob
from tests.fakes.model import WEIGHTS

BASE_BYTES = bytes(range(256)) * 20
DELTA = b"edited bytes" * 100
SEGMENTS = (
    Segment(source="base", start=0, end=1000),
    Segment(source="delta", start=200, end=700),
    Segment(source="base", start=1500, end=1500),
    Segment(source="delta", start=0, end=10),
    Segment(source="base", start=1510, end=len(BASE_BYTES)),
)
FULL = BASE_BYTES[:1000] + DELTA[200:700] + DELTA[:10] + BASE_BYTES[1510:]
Change = Callable[[Path], None]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def overlay_of(base: Path) -> Overlay:
    state = base.stat()
    return Overlay(
        base=WEIGHTS,
        base_sha256=sha256(BASE_BYTES),
        base_size=state.st_size,
        base_mtime_ns=state.st_mtime_ns,
        delta_sha256=sha256(DELTA),
        segments=SEGMENTS,
        sha256=sha256(FULL),
    )


@pytest.fixture
def base(app_state: AppState) -> Path:
    path = app_state.registry.get("tiny").path / WEIGHTS
    path.write_bytes(BASE_BYTES)
    os.utime(path, ns=(10**18, 10**18))  # long ago: a change shows in the time, however soon it comes
    return path


@pytest.fixture
def weights(app_state: AppState, base: Path) -> str:
    """Publish full weights as an overlay and return their URL."""
    blob, made, now = app_state.blobs.put(io.BytesIO(DELTA)), overlay_of(base), app_state.clock()
    stream = "application/octet-stream"
    files = [
        StoredArtifact("delta.safetensors", "delta", stream, blob.size, blob.sha256),
        StoredArtifact(WEIGHTS, "weights", stream, made.size, made.sha256, made.model_dump(mode="json")),
    ]
    with app_state.database.write() as session:
        request = EditRequest(model="tiny", removals=[Removal(concept="fox")])
        edit_id = jobs.create(session, NewJob(request, "key"), now=now).id
        claim = claims.claim(session, edit_id, owner="w", lease=timedelta(seconds=30), now=now)
        assert claim
        assert claims.succeed(session, claim, files, "0" * 64, "passed", now=now)
    return f"/v1/edits/{edit_id}/artifacts/{WEIGHTS}"


@given(st.integers(0, len(FULL)), st.integers(0, len(FULL)))
def test_any_range_of_segments_matches_the_file(one: int, other: int) -> None:
    start, end = sorted((one, other))
    overlay = Overlay(
        base=WEIGHTS, base_sha256="", base_size=0, base_mtime_ns=0, delta_sha256="", segments=SEGMENTS, sha256=""
    )
    sources = {"base": BASE_BYTES, "delta": DELTA}
    assert overlay.size == len(FULL)
    assert b"".join(sources[s.source][s.start : s.end] for s in overlay.within(start, end)) == FULL[start:end]


def test_complete_file_and_its_digest(client: TestClient, weights: str) -> None:
    response = client.get(weights)
    assert (response.status_code, response.content) == (200, FULL)
    assert response.headers["ETag"] == f'"{sha256(FULL)}"'
    assert response.headers["Content-Length"] == str(len(FULL))
    listed = client.get(weights.partition(WEIGHTS)[0].rstrip("/")).json()["data"]
    assert {"name": WEIGHTS, "size": len(FULL), "sha256": sha256(FULL)}.items() <= listed[1].items()


def test_head_range_if_range_and_if_none_match(client: TestClient, weights: str) -> None:
    head = client.head(weights)
    assert (head.status_code, head.content, head.headers["Content-Length"]) == (200, b"", str(len(FULL)))
    etag = head.headers["ETag"]
    part = client.get(weights, headers={"Range": "bytes=990-1520", "If-Range": etag})
    assert (part.status_code, part.content) == (206, FULL[990:1521])
    assert part.headers["Content-Range"] == f"bytes 990-1520/{len(FULL)}"
    assert client.get(weights, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).content == FULL
    assert client.get(weights, headers={"If-None-Match": etag}).status_code == 304
    assert client.get(weights, headers={"Range": f"bytes={len(FULL)}-"}).status_code == 416


def test_only_the_delta_is_stored(app_state: AppState, weights: str) -> None:
    assert isinstance(app_state.blobs, LocalBlobs)
    stored = [path for path in app_state.blobs.path("00").parent.parent.rglob("*") if path.is_file()]
    assert [path.name for path in stored] == [sha256(DELTA)]


def flip_a_bit(base: Path) -> None:
    content = bytearray(BASE_BYTES)
    content[3000] ^= 1
    base.write_bytes(content)


def cut(base: Path) -> None:
    base.write_bytes(BASE_BYTES[:-1])


def lengthen_keeping_the_time(base: Path) -> None:
    before = base.stat()
    base.write_bytes(BASE_BYTES + b"x")
    os.utime(base, ns=(before.st_atime_ns, before.st_mtime_ns))


def unregister(base: Path) -> None:
    (base.parents[1] / "model_index.json").unlink()


@pytest.mark.parametrize("change", [flip_a_bit, cut, lengthen_keeping_the_time, Path.unlink, unregister])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_changed_base_is_an_error(client: TestClient, weights: str, base: Path, change: Change, method: str) -> None:
    change(base)
    response = client.request(method, weights)
    assert response.status_code == 503
    if method == "GET":
        problem = response.json()
        assert (problem["code"], bool(problem["remedy"])) == ("base_model_changed", True)
        assert str(base) not in response.text


def test_base_with_another_mtime_is_hashed_once(
    client: TestClient, weights: str, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    real = hashlib.file_digest
    monkeypatch.setattr(digest_cache.hashlib, "file_digest", lambda *a: hashed.append(a) or real(*a))
    assert client.get(weights).content == FULL
    assert not hashed
    os.utime(base, ns=(1, 1))
    assert [client.get(weights).content for _ in range(3)] == [FULL] * 3
    assert len(hashed) == 1


def test_base_that_changes_while_read_aborts_the_response(base: Path, tmp_path: Path) -> None:
    blobs = LocalBlobs(tmp_path / "other-blobs")
    blobs.put(io.BytesIO(DELTA))
    parts = OverlayReader(blobs).open(overlay_of(base), base, 0, len(FULL))
    assert next(parts) == FULL[:1000]
    flip_a_bit(base)
    with pytest.raises(BaseModelChanged):
        list(parts)


def test_base_that_is_replaced_while_read_does_not_matter(base: Path, tmp_path: Path) -> None:
    """A rename does not change the open file."""
    blobs = LocalBlobs(tmp_path / "other-blobs")
    blobs.put(io.BytesIO(DELTA))
    parts = OverlayReader(blobs).open(overlay_of(base), base, 0, len(FULL))
    other = tmp_path / "other"
    other.write_bytes(b"y" * len(BASE_BYTES))
    other.replace(base)
    assert b"".join(parts) == FULL
