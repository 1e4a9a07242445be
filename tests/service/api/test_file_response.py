"""File downloads: complete files, ranges and conditional requests."""

import hashlib
import io
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest, Removal
from service.api.app import create_app
from service.api.file_response import ByteRange, parse_range
from service.core.app_state import AppState
from service.errors import RangeNotSatisfiable
from service.store import claims, jobs, ledgers
from service.store.claims import StoredArtifact
from service.store.jobs import NewJob
from service.store.ledgers import NextRevision
from service.store.orm import Job
from service.store.s3 import S3Blobs

DATA = bytes(range(256)) * 20
FILES = {
    "text_encoder/model.safetensors": (DATA, "application/octet-stream"),
    "report.json": (b'{"verdict": "passed"}', "application/json"),
    "report.html": (b"<!doctype html>", "text/html; charset=utf-8"),
    "report.pdf": (b"%PDF-1.7", "application/pdf"),
}


@pytest.fixture
def edit(app_state: AppState) -> str:
    return publish(app_state)


def publish(app_state: AppState) -> str:
    """Publish `FILES` and return the URL of the edit."""
    files = []
    for name, (data, media_type) in FILES.items():
        blob = app_state.blobs.put(io.BytesIO(data))
        files.append(StoredArtifact(name, "weights", media_type, blob.size, blob.sha256))
    now = app_state.clock()
    with app_state.database.write() as session:
        request = EditRequest(model="tiny", removals=[Removal(concept="fox")])
        edit_id = jobs.create(session, NewJob(request, "key"), now=now).id
        claim = claims.claim(session, edit_id, owner="w", lease=timedelta(seconds=30), now=now)
        assert claim
        assert claims.succeed(session, claim, files, "0" * 64, "passed", now=now)
    return f"/v1/edits/{edit_id}"


@pytest.fixture
def weights(edit: str) -> str:
    return f"{edit}/artifacts/text_encoder/model.safetensors"


def test_list_contains_all_artifacts(client: TestClient, edit: str) -> None:
    artifacts = client.get(f"{edit}/artifacts").json()["data"]
    assert {artifact["name"] for artifact in artifacts} == set(FILES)
    for artifact in artifacts:
        data, _ = FILES[artifact["name"]]
        assert (artifact["size"], artifact["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert client.get(artifact["url"]).content == data


def test_complete_file(client: TestClient, weights: str) -> None:
    response = client.get(weights)
    assert (response.status_code, response.content) == (200, DATA)
    assert response.headers["ETag"] == f'"{hashlib.sha256(DATA).hexdigest()}"'
    assert response.headers["Content-Length"] == str(len(DATA))
    assert response.headers["Accept-Ranges"] == "bytes"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_head_has_headers_and_no_body(client: TestClient, weights: str) -> None:
    response = client.head(weights)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Content-Length"] == str(len(DATA))


@pytest.mark.parametrize(
    ("header", "start", "end"),
    [("bytes=0-99", 0, 100), ("bytes=5000-", 5000, 5120), ("bytes=-20", 5100, 5120), ("bytes=10-99999", 10, 5120)],
)
def test_range_of_a_file(client: TestClient, weights: str, header: str, start: int, end: int) -> None:
    response = client.get(weights, headers={"Range": header})
    assert (response.status_code, response.content) == (206, DATA[start:end])
    assert response.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert response.headers["Content-Length"] == str(end - start)


def test_ranges_form_the_complete_file(client: TestClient, weights: str) -> None:
    parts = [
        client.get(weights, headers={"Range": f"bytes={start}-{start + 999}"}).content
        for start in range(0, len(DATA), 1000)
    ]
    assert b"".join(parts) == DATA


@pytest.mark.parametrize("route", ["artifact", "hub"])
def test_range_of_thousands_of_digits(client: TestClient, edit: str, weights: str, route: str) -> None:
    edit_id = edit.rpartition("/")[2]
    path = weights if route == "artifact" else f"/hf/expunge/{edit_id}/resolve/main/report.json"
    whole = client.get(path).content
    digits = "9" * 5000
    for header, expected in ((f"0-{digits}", whole), (f"{'0' * 5000}-4", whole[:5]), (f"-{digits}", whole)):
        response = client.get(path, headers={"Range": f"bytes={header}"})
        assert (response.status_code, response.content) == (206, expected), header[:10]
    response = client.get(path, headers={"Range": f"bytes={digits}-"})
    assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")


def test_range_past_the_end_is_rejected(client: TestClient, weights: str) -> None:
    response = client.get(weights, headers={"Range": "bytes=5120-"})
    assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")
    assert response.headers["Content-Range"] == "bytes */5120"


def test_if_range_with_another_etag_returns_the_complete_file(client: TestClient, weights: str) -> None:
    response = client.get(weights, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (response.status_code, response.content) == (200, DATA)


def test_if_none_match_returns_304(client: TestClient, weights: str) -> None:
    etag = client.get(weights).headers["ETag"]
    response = client.get(weights, headers={"If-None-Match": f'"x", {etag}'})
    assert (response.status_code, response.content) == (304, b"")


@pytest.mark.parametrize(
    "header", ["", "bytes", "bytes=-", "bytes=a-b", "items=0-1", "bytes=0-1,4-5", "bytes=9-3", "bytes=٣-"]
)
def test_unsupported_ranges_are_ignored(header: str) -> None:
    assert parse_range(header, 100) is None


def test_ranges_of_small_files() -> None:
    assert parse_range("bytes=-500", 100) == ByteRange(0, 100)
    assert parse_range("bytes=99-", 100) == ByteRange(99, 100)
    for header in ("bytes=-0", "bytes=100-", "bytes=0-"):
        with pytest.raises(RangeNotSatisfiable):
            parse_range(header, 0 if header == "bytes=0-" else 100)


@pytest.mark.parametrize(
    ("path", "accept", "expected"),
    [
        ("/report", "*/*", "report.json"),
        ("/report", "application/json", "report.json"),
        ("/report", "text/html,application/xhtml+xml,application/json;q=0.9", "report.html"),
        ("/report?format=json", "text/html", "report.json"),
        ("/report?format=html", "*/*", "report.html"),
        ("/report.html", "application/json", "report.html"),
        ("/report.json", "text/html", "report.json"),
        ("/report", "application/pdf", "report.pdf"),
        ("/report", "text/html;q=0.5, application/pdf;q=0.9, */*;q=0.1", "report.pdf"),
        ("/report", "application/pdf;q=0, text/html;q=0.1", "report.html"),
        ("/report", "application/pdf;q=0", "report.json"),
        ("/report?format=pdf", "text/html", "report.pdf"),
        ("/report.pdf", "*/*", "report.pdf"),
    ],
)
def test_report_is_served_in_each_format(client: TestClient, edit: str, path: str, accept: str, expected: str) -> None:
    response = client.get(edit + path, headers={"Accept": accept})
    data, media_type = FILES[expected]
    assert (response.content, response.headers["content-type"]) == (data, media_type)
    assert "sandbox" in response.headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("tags", "status"), [("*", 200), ("{etag}", 200), ('"other", {etag}', 200), ('"other"', 412), ("W/{etag}", 412)]
)
def test_if_match_guards_a_download(client: TestClient, weights: str, tags: str, status: int) -> None:
    etag = client.head(weights).headers["ETag"]
    response = client.get(weights, headers={"If-Match": tags.format(etag=etag)})
    assert (response.status_code, response.headers["ETag"]) == (status, etag)
    if status == 412:
        assert response.json()["code"] == "precondition_failed"


def test_missing_file_has_a_remedy(client: TestClient, edit: str) -> None:
    response = client.get(f"{edit}/artifacts/../../api-key")
    assert response.status_code == 404
    response = client.get(f"{edit}/artifacts/nothing.bin")
    assert "artifacts" in response.json()["remedy"]


def test_file_in_a_bucket_is_redirected(app_state: AppState, api_key: str, bucket: str) -> None:
    settings = app_state.settings.model_copy(update={"redirect_seconds": 60})
    remote = replace(app_state, settings=settings, blobs=S3Blobs(bucket))
    edit = publish(remote)
    edit_id, name = edit.rpartition("/")[2], "text_encoder/model.safetensors"
    with remote.database.write() as session:
        ledgers.advance(session, session.get_one(Job, edit_id), NextRevision(0, "d" * 64, 1), now=remote.clock())
    paths = [
        path := f"{edit}/artifacts/{name}",
        f"/v1/models/tiny/revisions/1/artifacts/{name}",
        f"/hf/expunge/{edit_id}/resolve/main/{name}",
    ]
    headers = {"Authorization": f"Bearer {api_key}"}
    with TestClient(create_app(remote), headers=headers, follow_redirects=False) as client:
        for redirected in paths:
            sent_on = client.get(redirected)
            assert sent_on.status_code == 307
            assert httpx.get(sent_on.headers["Location"], trust_env=False).content == DATA
            assert client.head(redirected).headers["Content-Length"] == str(len(DATA))
        assert [client.get(f"{edit}/report.{kind}").status_code for kind in ("json", "html", "pdf")] == [200] * 3
        assert client.get(f"/hf/expunge/{edit_id}/resolve/main/model_index.json").status_code == 200
    direct = replace(remote, settings=app_state.settings)
    with TestClient(create_app(direct), headers=headers | {"Range": "bytes=5-9"}, follow_redirects=False) as client:
        assert client.get(path).content == DATA[5:10]
