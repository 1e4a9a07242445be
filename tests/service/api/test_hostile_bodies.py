"""Hostile bodies and paths: deeply nested, huge or compressed bodies, and path traversal."""

import gzip
import io
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient

from service.api.app import create_app
from service.api.problem_details import MAX_REPORTED_ERRORS
from service.core.app_state import AppState
from service.settings import ServiceSettings
from service.store.database import Database
from service.store.orm import Artifact, Job

JSON, CSV = {"Content-Type": "application/json"}, {"Content-Type": "text/csv"}
MAX_BODY_BYTES = ServiceSettings.model_fields["max_body_bytes"].default
BOMB = gzip.compress(b'{"removals": [' + b" " * 50_000_000 + b"]}")
SECONDS = 3.0
REFUSALS = {400, 413, 415, 422}
DEEP = {
    "lists": "[" * (MAX_BODY_BYTES // 2),
    "closed lists": "[" * (MAX_BODY_BYTES // 2) + "]" * (MAX_BODY_BYTES // 2),
    "objects": '{"a":' * (MAX_BODY_BYTES // 5),
    "a deep name": '{"model": "tiny", "removals": [{"concept": ' + "[" * 90_000 + "]" * 90_000 + "}]}",
}
HUGE = {
    "a number": '{"seed": ' + "9" * 200_000 + "}",
    "an exponent": '{"seed": 1e999999999}',
    "many keys": json.dumps({f"k{i}": i for i in range(15_000)}),
    "the same key again": "{" + '"removals": 1,' * 15_000 + '"model": "tiny"}',
    "a long name": json.dumps({"model": "tiny", "removals": [{"concept": "x" * 200_000}]}),
    "many names": json.dumps({"model": "tiny", "removals": [{"concept": f"c{i}"} for i in range(9_000)]}),
    "combining marks": json.dumps({"model": "tiny", "removals": [{"concept": "e" + "\u0301" * 30_000}]}),
}
BODIES = DEEP | HUGE


@pytest.fixture
def default_limits_client(app_state: AppState, client: TestClient) -> Iterator[TestClient]:
    """A client of a service with the default body limits."""
    settings = app_state.settings.model_copy(update={"max_body_bytes": MAX_BODY_BYTES, "max_batch_bytes": 4_194_304})
    app = create_app(replace(app_state, settings=settings))
    with TestClient(app, headers=client.headers, raise_server_exceptions=False) as found:
        yield found


@pytest.mark.parametrize("path", ["/v1/edits", "/v1/edits:validate", "/v1/batches", "/v1/webhook_endpoints"])
def test_hostile_body_is_rejected_quickly(default_limits_client: TestClient, path: str) -> None:
    for name, body in BODIES.items():
        started = time.process_time()
        response = default_limits_client.post(path, content=body.encode(), headers=JSON)
        assert response.status_code in REFUSALS, (name, response.text[:300])
        assert response.json()["code"]
        assert len(response.content) < 100_000, f"{name}: the rejected body is not echoed"
        assert time.process_time() - started < SECONDS, name


def test_number_of_reported_errors_is_limited(default_limits_client: TestClient) -> None:
    problem = default_limits_client.post("/v1/edits", content=HUGE["many keys"].encode(), headers=JSON).json()
    assert len(problem["errors"]) == MAX_REPORTED_ERRORS
    assert problem["detail"].endswith("and 14901 more")


@pytest.mark.parametrize("path", ["/v1/edits", "/v1/batches"])
@pytest.mark.parametrize("kind", [JSON, CSV], ids=["json", "csv"])
def test_compressed_body_is_not_decompressed(
    default_limits_client: TestClient, path: str, kind: dict[str, str]
) -> None:
    """50 MB compressed to 50 kB are read as 50 kB of invalid JSON."""
    started = time.process_time()
    response = default_limits_client.post(path, content=BOMB, headers=kind | {"Content-Encoding": "gzip"})
    assert response.status_code in REFUSALS
    assert time.process_time() - started < SECONDS


@pytest.mark.parametrize(
    "rows",
    [
        "concept\n" + "x" * 3_000_000,
        "concept\n" + "x\n" * 1_500_000,
        "c," * 1_500_000 + "\n",
        'concept\n"' + "x\n" * 1_000_000,
    ],
    ids=["one cell", "many rows", "many columns", "a quote that never ends"],
)
def test_hostile_csv_is_rejected_quickly(default_limits_client: TestClient, rows: str) -> None:
    started = time.process_time()
    response = default_limits_client.post("/v1/batches?model=tiny", content=rows.encode(), headers=CSV)
    assert response.status_code in REFUSALS, response.text[:300]
    assert len(response.content) < 100_000
    assert time.process_time() - started < SECONDS


@pytest.fixture
def published(app_state: AppState, client: TestClient, database: Database) -> str:
    """An edit with a file. A file outside the store must not be readable."""
    edit_id = str(client.post("/v1/edits", json={"model": "tiny", "removals": [{"concept": "fox"}]}).json()["id"])
    blob = app_state.blobs.put(io.BytesIO(b"content"))
    with database.write() as session:
        session.get_one(Job, edit_id).status = "succeeded"
        file = {"name": "a.json", "position": 0, "kind": "log", "media_type": "text/plain"}
        session.add(Artifact(job_id=edit_id, size=7, sha256=blob.sha256, **file))
    (app_state.settings.data_dir / "api-key").write_text("the key")
    return edit_id


STEPS = ["..", "../", "./", "%2e%2e", "..%2f", "..%5c", "..\\", "%252e%252e", "....//", "\u2025", "/"]


@pytest.mark.parametrize("target", ["api-key", "etc/passwd"])
def test_no_path_escapes_the_bundle(client: TestClient, published: str, target: str) -> None:
    places = (f"/v1/edits/{published}/artifacts", f"/hf/expunge/{published}/resolve/main", "/v1/models")
    for base, step, steps in product(places, STEPS, (1, 6)):
        for stream_events in ("/".join([step] * steps) + f"/{target}", quote(f"{step}/" * steps + target, safe="")):
            response = client.get(f"{base}/{stream_events}")
            assert response.status_code in (400, 404), stream_events
            assert b"the key" not in response.content


def test_model_id_is_not_a_path(client: TestClient) -> None:
    for model in ("../tiny", "/etc", "tiny/../tiny", "tiny\x00", "..", ".", "tiny/", "https://example.org/m"):
        response = client.post("/v1/edits", json={"model": model, "removals": [{"concept": "fox"}]})
        assert response.status_code == 422, model
    assert client.get("/v1/edits").json()["data"] == []


def test_declared_length_of_thousands_of_digits_is_rejected(client: TestClient) -> None:
    response = client.post("/v1/edits", content=b"{}", headers={"Content-Length": "9" * 5000})
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
