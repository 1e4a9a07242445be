"""Reading, listing and canceling edits; authentication; errors as problems."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest, Removal
from api_schemas.problems import PROBLEM_JSON, Problem
from service.api.app import create_app
from service.core.app_state import AppState
from service.store import claims, jobs, registered_files
from service.store.database import Database
from service.store.jobs import NewJob
from tests.fakes.clock import FakeClock
from tests.fakes.model import LONGEST_PHRASE

CHECKS = ("database", "broker", "blobs")
NOBODY = "/v1/edits/edit_00000000000000000000000000"


def submit(database: Database, clock: FakeClock, concept: str = "fox") -> str:
    clock.advance(1)
    with database.write() as session:
        request = EditRequest(model="tiny", removals=[Removal(concept=concept)])
        return jobs.create(session, NewJob(request, "key"), now=clock()).id


def start(database: Database, clock: FakeClock, edit_id: str) -> claims.Claim:
    with database.write() as session:
        claim = claims.claim(session, edit_id, owner="w", lease=timedelta(seconds=30), now=clock())
    assert claim
    return claim


@pytest.mark.parametrize("path", ["/v1/edits", "/v1/models", "/nowhere", NOBODY])
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer expunge_000000000000_" + "a" * 43, "Basic x"])
def test_resources_need_a_key(app_state: AppState, path: str, header: str | None) -> None:
    stranger = TestClient(create_app(app_state), headers={"Authorization": header} if header else {})
    response = stranger.get(path)
    assert (response.status_code, response.headers["content-type"]) == (401, PROBLEM_JSON)
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert Problem.model_validate_json(response.content).remedy


def test_body_is_not_parsed_without_a_key(app_state: AppState) -> None:
    response = TestClient(create_app(app_state)).post("/v1/edits", content=b"{")
    assert response.status_code == 401


@pytest.mark.parametrize(
    ("path", "media_type"),
    [("/openapi.json", "application/json"), ("/openapi-3.2.json", "application/json"), ("/docs", "text/html")],
)
def test_contract_needs_no_key(app_state: AppState, path: str, media_type: str) -> None:
    response = TestClient(create_app(app_state)).get(path)
    assert (response.status_code, response.headers["content-type"].partition(";")[0]) == (200, media_type)


def test_page_lists_every_operation_and_runs_no_script(app_state: AppState) -> None:
    app = create_app(app_state)
    response = TestClient(app).get("/docs")
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            assert f"<code>{method.upper()} {path}</code>" in response.text
    assert "<script" not in response.text
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_health_needs_no_key(app_state: AppState) -> None:
    stranger = TestClient(create_app(app_state))
    assert stranger.get("/healthz").json()["status"] == "ok"
    response = stranger.get("/readyz")
    assert (response.status_code, response.json()["checks"]) == (200, dict.fromkeys(CHECKS, "ok"))


def test_readiness_fails_without_a_broker_and_hides_its_password(app_state: AppState) -> None:
    settings = app_state.settings.model_copy(update={"broker_url": "redis://:secret@127.0.0.1:1/0"})
    response = TestClient(create_app(replace(app_state, settings=settings))).get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["broker"] != "ok"
    assert "secret" not in response.text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("GET", NOBODY, 404, "not_found"),
        ("POST", f"{NOBODY}/cancel", 404, "not_found"),
        ("GET", f"{NOBODY}/events", 404, "not_found"),
        ("GET", f"{NOBODY}/stream", 404, "not_found"),
        ("GET", f"{NOBODY}/artifacts", 404, "not_found"),
        ("GET", f"{NOBODY}/artifacts/delta.safetensors", 404, "not_found"),
        ("GET", f"{NOBODY}/report", 404, "not_found"),
        ("GET", "/v1/models/nothing", 404, "not_found"),
        ("DELETE", "/v1/edits", 405, "method_not_allowed"),
        ("GET", "/v1/edits?limit=0", 422, "invalid_request"),
        ("GET", "/v1/edits?after=x", 422, "invalid_request"),
        ("GET", "/v1/edits?status=done", 422, "invalid_request"),
    ],
)
def test_every_error_is_a_problem(client: TestClient, method: str, path: str, status: int, code: str) -> None:
    response = client.request(method, path)
    problem = Problem.model_validate_json(response.content)
    assert (response.status_code, problem.status, problem.code) == (status, status, code)
    assert response.headers["content-type"] == PROBLEM_JSON
    assert problem.request_id == response.headers["Request-Id"]
    assert problem.type == f"urn:expunge:problem:{code}"


def test_internal_error_reveals_only_the_request_id(
    app_state: AppState, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(*_: object, **__: object) -> None:
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr(jobs, "list_edits", explode)
    response = client.get("/v1/edits", headers={"Request-Id": "mine"})
    assert (response.status_code, response.json()["request_id"]) == (500, "mine")
    assert response.headers["Request-Id"] == "mine"
    assert "1234" not in response.text


def test_pages_list_each_edit_once_newest_first(client: TestClient, database: Database, clock: FakeClock) -> None:
    ids = [submit(database, clock) for _ in range(5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = client.get("/v1/edits", params={"limit": 2} | ({"after": cursor} if cursor else {})).json()
        seen += [edit["id"] for edit in page["data"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert seen == ids[::-1]


def test_lists_can_be_filtered(client: TestClient, database: Database, clock: FakeClock) -> None:
    first, _ = submit(database, clock), submit(database, clock)
    start(database, clock, first)
    assert [edit["id"] for edit in client.get("/v1/edits?status=running").json()["data"]] == [first]
    assert client.get("/v1/edits?model=other").json()["data"] == []


def test_unchanged_edit_returns_304(client: TestClient, database: Database, clock: FakeClock) -> None:
    edit_id = submit(database, clock)
    first = client.get(f"/v1/edits/{edit_id}")
    assert "Retry-After" in first.headers
    same = {"If-None-Match": first.headers["ETag"]}
    assert client.get(f"/v1/edits/{edit_id}", headers=same).status_code == 304
    start(database, clock, edit_id)
    assert client.get(f"/v1/edits/{edit_id}", headers=same).status_code == 200


def test_queued_edit_is_canceled_at_once(client: TestClient, database: Database, clock: FakeClock) -> None:
    edit_id = submit(database, clock)
    response = client.post(f"/v1/edits/{edit_id}/cancel")
    assert (response.status_code, response.json()["status"]) == (200, "canceled")
    again = client.post(f"/v1/edits/{edit_id}/cancel")
    assert again.json() == response.json()


def test_running_edit_is_canceling(client: TestClient, database: Database, clock: FakeClock) -> None:
    edit_id = submit(database, clock)
    start(database, clock, edit_id)
    for _ in range(2):
        response = client.post(f"/v1/edits/{edit_id}/cancel")
        assert (response.status_code, response.json()["status"]) == (202, "canceling")


def test_models_are_listed_with_their_token_limit(client: TestClient) -> None:
    (model,) = client.get("/v1/models").json()["data"]
    assert (model["id"], model["max_phrase_tokens"]) == ("tiny", LONGEST_PHRASE)
    assert client.get(model["url"]).json() == model
    assert "tokenizer/tokenizer.json" in {file["name"] for file in model["files"]}
    assert (model["revision"], model["licence"], model["editable"]) == (None, None, [])


def test_model_lists_licence_and_editable_encoders(
    client: TestClient, app_state: AppState, database: Database, clock: FakeClock
) -> None:
    folder = app_state.registry.get("tiny").path
    encoders = {"text_encoder": "CLIPTextModel", "text_encoder_2": "T5EncoderModel"}
    index: dict[str, Any] = {name: ["transformers", kind] for name, kind in encoders.items()}
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionPipeline"}))
    config = {"architectures": ["CLIPTextModel"], "num_hidden_layers": 12, "hidden_size": 768}
    (folder / "text_encoder" / "config.json").write_text(json.dumps(config))
    (folder / "README.md").write_text("---\nlicense: openrail++\ntags: [a]\n---\n# Tiny\nlicense: none of these\n")
    registered_files.register_model(database, "tiny", folder, clock())
    model = client.get("/v1/models/tiny").json()
    assert model["licence"] == "openrail++"
    encoder = {"component": "text_encoder", "kind": "CLIPTextModel", "layers": 12, "width": 768, "digest": None}
    assert model["editable"] == [encoder]
    assert re.fullmatch("[0-9a-f]{40}", model["revision"])
    assert all(file["sha256"] for file in model["files"])
    weights = folder / "text_encoder" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(b"X" + content[1:])
    assert client.get("/v1/models/tiny").json()["revision"] is None, "other bytes of the same size have another digest"
    weights.write_bytes(content)
    (folder / "README.md").write_text("no front matter")
    assert client.get("/v1/models/tiny").json()["revision"] is None
    registered_files.register_model(database, "tiny", folder, clock())
    again = client.get("/v1/models/tiny").json()
    assert again["licence"] is None
    assert again["revision"] not in (None, model["revision"])


def test_wrong_method_lists_allowed_methods(client: TestClient) -> None:
    """Also if several routes match the path."""
    assert client.put("/v1/edits").headers["Allow"] == "GET, POST"
    assert client.put(f"{NOBODY}/report").headers["Allow"] == "GET, HEAD"


@pytest.mark.parametrize("text", ["0.5", "2026", "yesterday", "2026-13-01T00:00:00Z"])
def test_malformed_times_are_rejected(client: TestClient, text: str) -> None:
    assert client.get("/v1/edits", params={"created_since": text}).status_code == 422


def test_edits_are_filtered_by_time(client: TestClient, database: Database, clock: FakeClock) -> None:
    first = submit(database, clock)
    between = clock.advance(1).isoformat()
    second = submit(database, clock)
    for name, edit_id in (("created_before", first), ("created_since", second)):
        assert [edit["id"] for edit in client.get("/v1/edits", params={name: between}).json()["data"]] == [edit_id]
