"""Previews of an edit over the API."""

import io
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest, Removal
from service.core.app_state import AppState
from service.store import api_keys, claims, jobs
from service.store.claims import StoredArtifact
from service.store.jobs import NewJob

PROMPT = "Ada Quokka in the snow"


@pytest.fixture
def edit_id(app_state: AppState) -> str:
    return publish(app_state, "delta")


def publish(app_state: AppState, kind: str) -> str:
    """Publish an edit with one file."""
    request = EditRequest.model_validate(
        {"model": "tiny", "removals": [Removal(concept="fox")], "validation": {"steps": 9, "guidance": 2.5}}
    )
    with app_state.database.write() as session:
        job_id = jobs.create(session, NewJob(request, "key"), now=app_state.clock()).id
    finish(app_state, job_id, StoredArtifact("delta.safetensors", kind, "application/octet-stream", 3, "d" * 64))
    return job_id


def finish(app_state: AppState, job_id: str, *files: StoredArtifact) -> None:
    now = app_state.clock()
    with app_state.database.write() as session:
        claim = claims.claim(session, job_id, owner="w", lease=timedelta(seconds=9), now=now)
        assert claim
        assert claims.succeed(session, claim, files, "0" * 64, None, now=now)


def create(client: TestClient, edit_id: str, **fields: Any) -> Any:
    return client.post(f"/v1/edits/{edit_id}/previews", json={"prompt": PROMPT, **fields})


def test_preview_takes_delta_and_sampler_from_the_edit(client: TestClient, app_state: AppState, edit_id: str) -> None:
    response = create(client, edit_id, seeds=[5])
    body = response.json()
    assert (response.status_code, response.headers["location"]) == (202, body["urls"]["self"])
    assert (body["object"], body["status"], body["images"]) == ("preview", "queued", [])
    assert body["request"] == {"prompt": PROMPT, "seeds": [5], "steps": 9}
    with app_state.database.read() as session:
        job = jobs.get(session, body["id"])
    assert job
    task = job.request
    assert (task["delta_sha256"], task["delta_size"], task["guidance"]) == ("d" * 64, 3, 2.5)
    assert client.get(body["urls"]["self"]).json() == body
    assert client.get(f"/v1/edits/{edit_id}/previews").json()["data"] == [body]


def test_images_are_served_until_the_preview_is_deleted(client: TestClient, app_state: AppState, edit_id: str) -> None:
    body = create(client, edit_id, seeds=[5]).json()
    blob = app_state.blobs.put(io.BytesIO(b"png"))
    names = [f"5-{side}.png" for side in ("before", "after")]
    finish(app_state, body["id"], *(StoredArtifact(name, "preview", "image/png", 3, blob.sha256) for name in names))
    found = client.get(body["urls"]["self"]).json()
    assert found["deleted_at"] > found["finished_at"]
    (images,) = found["images"]
    for side in ("before", "after"):
        image = client.get(images[side])
        assert (image.status_code, image.content, image.headers["content-type"]) == (200, b"png", "image/png")
    assert client.get(images["before"].replace("5-", "6-")).status_code == 404


def test_preview_is_no_edit_and_belongs_to_one_edit(client: TestClient, app_state: AppState, edit_id: str) -> None:
    preview_id = create(client, edit_id).json()["id"]
    for path in ("", "/events", "/stream", "/artifacts", "/previews"):
        assert client.get(f"/v1/edits/{preview_id}{path}").status_code == 404
    other = publish(app_state, "delta")
    assert client.get(f"/v1/edits/{other}/previews/{preview_id}").status_code == 404
    assert client.get(f"/v1/edits/{edit_id}/previews/{edit_id}").status_code == 404
    assert {edit["id"] for edit in client.get("/v1/edits").json()["data"]} == {other, edit_id}


def test_edit_without_weights_cannot_be_previewed(client: TestClient, app_state: AppState) -> None:
    response = create(client, publish(app_state, "report"))
    assert (response.status_code, response.json()["code"]) == (409, "not_previewable")
    queued = client.post("/v1/edits", json={"model": "tiny", "removals": [{"concept": "fox"}]}).json()["id"]
    assert create(client, queued).status_code == 409


@pytest.mark.parametrize(
    "fields",
    [
        {"seeds": []},
        {"seeds": [1, 1]},
        {"seeds": list(range(9))},
        {"seeds": [-1]},
        {"steps": 0},
        {"prompt": ""},
        {"x": 1},
    ],
)
def test_invalid_request_is_refused(client: TestClient, edit_id: str, fields: dict[str, Any]) -> None:
    assert create(client, edit_id, **fields).status_code == 422


def test_unfinished_previews_are_limited(client: TestClient, app_state: AppState, edit_id: str) -> None:
    limit = app_state.settings.max_previews_per_tenant
    created = [create(client, edit_id).json() for _ in range(limit)]
    refused = create(client, edit_id)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_previews")
    canceled = client.post(created[0]["urls"]["cancel"])
    assert (canceled.status_code, canceled.json()["status"]) == (200, "canceled")
    assert create(client, edit_id).status_code == 202


def test_repeated_request_returns_the_same_preview(client: TestClient, edit_id: str) -> None:
    path, headers = f"/v1/edits/{edit_id}/previews", {"Idempotency-Key": "once"}
    first, again = (client.post(path, json={"prompt": PROMPT}, headers=headers) for _ in range(2))
    assert (first.json(), again.headers["idempotent-replayed"]) == (again.json(), "true")
    assert client.post(path, json={"prompt": "other"}, headers=headers).status_code == 422


def test_audit_log_does_not_name_the_prompt(client: TestClient, app_state: AppState, edit_id: str) -> None:
    preview = create(client, edit_id).json()
    with app_state.database.read() as session:
        job = jobs.get(session, preview["id"])
    line = client.get("/v1/audit_log").json()["data"][-1]
    assert (line["action"], line["target"], line["details"]) == ("preview.create", preview["id"], {"edit": edit_id})
    assert job
    assert job.request_digest not in client.get("/v1/audit_log").text


def test_other_tenant_cannot_preview(client: TestClient, app_state: AppState, edit_id: str) -> None:
    preview = create(client, edit_id).json()
    key = api_keys.generate_api_key()
    with app_state.database.write() as session:
        api_keys.register(session, key, now=app_state.clock(), tenant="two")
    client.headers["Authorization"] = f"Bearer {key}"
    assert create(client, edit_id).status_code == 404
    assert client.get(f"/v1/edits/{edit_id}/previews").status_code == 404
    assert client.get(preview["urls"]["self"]).status_code == 404
    assert client.post(preview["urls"]["cancel"]).status_code == 404
