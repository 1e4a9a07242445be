"""Calibrations of base models over the API."""

import io
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from service.core.app_state import AppState
from service.store import claims, events, jobs
from service.store.claims import StoredArtifact
from tests.fakes.clock import FakeClock

PATH = "/v1/models/tiny/calibrate"


def test_calibration_is_queued_with_all_defaults(client: TestClient, app_state: AppState) -> None:
    response = client.post(PATH, json={"objects": 20})
    assert response.status_code == 202
    body = response.json()
    assert response.headers["location"] == f"/v1/calibrations/{body['id']}" == body["urls"]["self"]
    assert (body["object"], body["status"], body["model"]) == ("calibration", "queued", "tiny")
    assert body["request"] == {
        "model": "tiny",
        "objects": 20,
        "images": 8,
        "steps": None,
        "guidance": None,
        "training_steps": 4000,
        "latents": None,
        "seed": 0,
    }
    with app_state.database.read() as session:
        job = jobs.get(session, body["id"])
        assert job
        assert (job.kind, job.model) == ("calibration", "tiny")
    assert client.get(response.headers["location"]).json() == body
    assert [one["id"] for one in client.get("/v1/calibrations?model=tiny").json()["data"]] == [body["id"]]
    assert client.get("/v1/calibrations?model=other").json()["data"] == []
    assert client.get("/v1/audit_log").json()["data"][0]["action"] == "calibration.create"


def test_calibration_is_no_edit(client: TestClient) -> None:
    job_id = client.post(PATH, json={}).json()["id"]
    assert client.get("/v1/edits").json()["data"] == []
    for path in ("", "/events", "/stream", "/artifacts"):
        assert client.get(f"/v1/edits/{job_id}{path}").status_code == 404
    assert client.post(f"/v1/edits/{job_id}/revoke").status_code == 404


def test_edit_is_no_calibration(client: TestClient) -> None:
    edit_id = client.post("/v1/edits", json={"model": "tiny", "removals": [{"concept": "fox"}]}).json()["id"]
    for path in ("", "/events", "/stream"):
        assert client.get(f"/v1/calibrations/{edit_id}{path}").status_code == 404
    assert client.post(f"/v1/calibrations/{edit_id}/cancel").status_code == 404


def test_repeated_request_returns_the_same_job(client: TestClient) -> None:
    headers = {"Idempotency-Key": "once"}
    first, again = (client.post(PATH, json={}, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert client.post(PATH, json={"seed": 1}, headers=headers).status_code == 422


@pytest.mark.parametrize("body", [{"objects": 11}, {"images": 0}, {"latents": 1}, {"steps": "20"}, {"model": "x"}])
def test_invalid_request_is_refused(client: TestClient, body: dict[str, object]) -> None:
    response = client.post(PATH, json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] in body


def test_unknown_model_is_not_found(client: TestClient) -> None:
    assert client.post("/v1/models/nothing/calibrate", json={}).status_code == 404


def test_canceled_calibration_ends_its_stream(client: TestClient, app_state: AppState) -> None:
    job_id = client.post(PATH, json={}).json()["id"]
    canceled = client.post(f"/v1/calibrations/{job_id}/cancel")
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    stream = client.get(f"/v1/calibrations/{job_id}/stream").text
    assert "event: done" in stream
    assert stream.count("event: status") == len(client.get(f"/v1/calibrations/{job_id}/events").json()["data"]) == 2
    with app_state.database.read() as session:
        assert list(events.event_heads(session, [job_id]))


def test_unfinished_calibrations_count_towards_the_quota(client: TestClient, app_state: AppState) -> None:
    object.__setattr__(app_state.settings, "max_unfinished_jobs", 1)
    assert client.post(PATH, json={}).status_code == 202
    assert client.post(PATH, json={}).json()["code"] == "too_many_jobs"


def test_model_without_calibration_says_null(client: TestClient) -> None:
    assert client.get("/v1/models/tiny").json()["calibration"] is None


def test_files_of_a_finished_calibration_are_downloaded_by_readers_of_models(
    client: TestClient, app_state: AppState, clock: FakeClock
) -> None:
    job_id = client.post(PATH, json={}).json()["id"]
    path = f"/v1/calibrations/{job_id}/artifacts"
    assert client.get(path).json()["data"] == []
    blob = app_state.blobs.put(io.BytesIO(b"# Calibration of tiny"))
    file = StoredArtifact("README.md", "calibration", "text/markdown; charset=utf-8", blob.size, blob.sha256)
    with app_state.database.write() as session:
        claim = claims.claim(session, job_id, owner="w", lease=timedelta(seconds=30), now=clock())
        assert claim
        assert claims.succeed(session, claim, [file], blob.sha256, None, now=clock())
    (listed,) = client.get(path).json()["data"]
    assert listed["url"] == f"{path}/README.md"
    assert client.get(listed["url"]).text == "# Calibration of tiny"
    missing = client.get(f"{path}/nothing")
    assert (missing.status_code, path in missing.json()["remedy"]) == (404, True)
    assert client.get(f"/v1/edits/{job_id}/artifacts/README.md").status_code == 404
