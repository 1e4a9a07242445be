"""Prometheus metrics and the request log."""

import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import JSON, String, cast, select

from service.core.app_state import AppState
from service.core.cases.sweep import sweep
from service.store import claims, webhooks
from service.store.claims import StoredArtifact
from service.store.orm import Artifact
from tests.fakes.clock import FakeClock
from tests.fakes.desk import NOTICE

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "operations.md"
BODY = {"model": "tiny", "removals": [{"concept": "fox"}]}


def samples(client: TestClient) -> dict[tuple[str, ...], float]:
    """(name, label values...) -> value."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}


def test_jobs_and_requests_are_counted(client: TestClient, app_state: AppState, clock: FakeClock) -> None:
    first, _ = (client.post("/v1/edits", json=BODY).json()["id"] for _ in range(2))
    with app_state.database.write() as session:
        claims.claim(session, first, owner="w", lease=timedelta(seconds=30), now=clock())
    client.get("/v1/edits/edit_unknown")
    clock.advance(90)
    found = samples(client)
    assert found["expunge_jobs", "queued"] == found["expunge_jobs", "running"] == found["expunge_attempts_total",] == 1
    assert found["expunge_queue_oldest_seconds",] == found["expunge_outbox_lag_seconds",] == 90
    assert found["expunge_http_requests_total", "POST", "/v1/edits", "202"] == 2
    assert found["expunge_http_requests_total", "GET", "/v1/edits/{edit_id}", "404"] == 1
    assert found["expunge_http_request_seconds_count", "POST", "/v1/edits"] == 2


def test_artifact_bytes_exclude_overlays(client: TestClient, app_state: AppState, clock: FakeClock) -> None:
    assert samples(client)["expunge_artifact_bytes",] == 0
    edit_id = client.post("/v1/edits", json=BODY).json()["id"]
    overlay = {"path": "text_encoder/model.safetensors", "tensors": {}}
    files = [
        StoredArtifact("report.json", "report", "application/json", 20, "0" * 64),
        StoredArtifact("delta.safetensors", "delta", "application/octet-stream", 300, "1" * 64),
        StoredArtifact("model.safetensors", "weights", "application/octet-stream", 4000, "2" * 64, overlay),
    ]
    with app_state.database.write() as session:
        claim = claims.claim(session, edit_id, owner="w", lease=timedelta(seconds=30), now=clock())
        assert claim
        assert claims.succeed(session, claim, files, "0" * 64, "passed", now=clock())
    assert samples(client)["expunge_artifact_bytes",] == 320


def test_artifact_bytes_include_rows_of_earlier_versions(client: TestClient, app_state: AppState) -> None:
    edit_id = client.post("/v1/edits", json=BODY).json()["id"]
    values = {"kind": "report", "media_type": "application/json", "sha256": "0" * 64}
    with app_state.database.write() as session:
        for position, overlay in enumerate((JSON.NULL, None)):
            session.add(
                Artifact(
                    job_id=edit_id, name=f"{position}", position=position, size=50 + position, overlay=overlay, **values
                )
            )
        session.flush()
        stored = session.scalars(select(cast(Artifact.overlay, String)).order_by(Artifact.position)).all()
    assert stored == ["null", None]
    assert samples(client)["expunge_artifact_bytes",] == 101


def test_every_metric_is_documented(client: TestClient) -> None:
    client.post("/v1/edits", json=BODY)
    families = text_string_to_metric_families(client.get("/metrics").text)
    named = {family.name for family in families if not family.name.endswith("_created")}
    assert named == set(re.findall(r"^\| `(expunge_\w+?)(?:_total)?` \|", PAGE.read_text(), re.MULTILINE))


def test_every_metric_moves(client: TestClient, app_state: AppState, clock: FakeClock) -> None:
    """Each value is that of the store after every step, and no metric stands still."""
    seen = [samples(client)]

    def measure() -> dict[tuple[str, ...], float]:
        seen.append(samples(client))
        return seen[-1]

    endpoint = client.post("/v1/webhook_endpoints", json={"url": "https://desk.example/"}).json()["id"]
    edit_id = client.post("/v1/edits", json=BODY).json()["id"]
    clock.advance(5)
    found = measure()
    assert found["expunge_jobs", "queued"] == 1
    assert found["expunge_queue_oldest_seconds",] == found["expunge_outbox_lag_seconds",] == 5
    with app_state.database.write() as session:
        claim = claims.claim(session, edit_id, owner="w", lease=timedelta(seconds=30), now=clock())
    found = measure()
    assert ("expunge_jobs", "queued") not in found
    assert (found["expunge_jobs", "running"], found["expunge_attempts_total",]) == (1, 1)
    assert found["expunge_queue_oldest_seconds",] == found["expunge_outbox_lag_seconds",] == 0
    assert claim
    file = StoredArtifact("report.json", "report", "application/json", 20, "0" * 64)
    with app_state.database.write() as session:
        claims.succeed(session, claim, [file], "0" * 64, "passed", now=clock())
    found = measure()
    assert (found["expunge_jobs", "succeeded"], found["expunge_artifact_bytes",]) == (1, 20)
    assert found["expunge_webhook_deliveries", "pending"] == 1
    with app_state.database.write() as session:
        (delivery,) = webhooks.list_deliveries(session, endpoint, after=None, limit=2)
        webhooks.record_attempt(session, delivery.id, {}, delivered=True, gone=False, retry_after=0, now=clock())
    assert measure()["expunge_webhook_deliveries", "delivered"] == 1
    case = client.post("/v1/cases", json={"bases": ["us-tida"], "notice": NOTICE, "models": ["tiny"]})
    assert case.status_code == 201
    measure()
    clock.advance(49 * 3600)
    sweep(app_state)
    measure()
    moved = {
        key[0] for one, other in pairwise(seen) for key in one.keys() | other.keys() if one.get(key) != other.get(key)
    }
    names = {re.sub("_(total|count|sum|bucket|created)$", "", name) for name in moved}
    assert names == set(re.findall(r"^\| `(expunge_\w+?)(?:_total)?` \|", PAGE.read_text(), re.MULTILINE))


def test_query_is_not_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="service.api.metrics"):
        client.get("/v1/edits?model=tiny")
    assert re.fullmatch(r"GET /v1/edits 200 \d+ ms", caplog.messages[-1])
