"""Base models are registered, changed and deleted over the API."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest, Removal
from service.core.app_state import AppState
from service.store import jobs
from service.store.database import Database
from service.store.jobs import NewJob
from service.store.ledgers import NextRevision, advance
from service.store.orm import Job
from service.store.unread_models import queue_unread
from tests.fakes.clock import FakeClock
from tests.fakes.model import WEIGHTS, write_model
from worker.runner import Runner
from worker.settings import WorkerSettings

COMMIT = "a" * 40


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "models" / "other")


@pytest.fixture
def runner(app_state: AppState, tmp_path: Path) -> Runner:
    """A worker that shares the registry: what is looked up is cached for a second."""
    settings = WorkerSettings(
        data_dir=tmp_path,
        editor="tests.fakes.editor",
        registrar="tests.fakes.registrar",
        models=app_state.settings.models,
        model_roots=app_state.settings.model_roots,
        progress_seconds=0.0,
    )
    return Runner(settings, app_state.database, app_state.blobs, app_state.registry, app_state.clock)


def register(client: TestClient, **fields: Any) -> Any:
    return client.post("/v1/models", json={"id": "other", "path": "other"} | fields)


def run_jobs(runner: Runner, database: Database) -> None:
    """Run the queued registrations."""
    with database.read() as session:
        queued = [job.id for job in session.query(Job).where(Job.status == "queued", Job.kind == "registration")]
    for job_id in queued:
        runner.run_job(job_id)


def model_of(client: TestClient) -> Any:
    return client.get("/v1/models/other").json()


def test_registered_model_is_read_by_a_worker_and_then_admitted(
    client: TestClient, folder: Path, runner: Runner, database: Database
) -> None:
    response = register(client, labels=["production", "tier=1"], licence="openrail++")
    assert (response.status_code, response.headers["location"]) == (202, "/v1/models/other")
    before = response.json()
    assert (before["status"], before["source"], before["revision"]) == ("registering", "path", None)
    refused = client.post("/v1/edits", json={"model": "other", "removals": [{"concept": "fox"}]})
    assert (refused.status_code, refused.json()["code"]) == (409, "model_not_admitted")
    assert client.get("/hf/api/models/expunge/other").status_code == 404
    run_jobs(runner, database)
    after = model_of(client)
    assert (after["status"], after["family"], after["labels"]) == ("admitted", "fake", ["production", "tier=1"])
    assert after["licence"] == "openrail++"
    assert all(file["sha256"] for file in after["files"])
    assert after["editable"][0]["digest"] == after["digest"]
    assert str(folder.parent) not in str(after), "paths of the machine are not shown"
    assert client.post("/v1/edits", json={"model": "other", "removals": [{"concept": "fox"}]}).status_code == 202
    assert client.get("/hf/api/models/expunge/other").status_code == 200
    actions = [line["action"] for line in client.get("/v1/audit_log").json()["data"]]
    assert actions[:2] == ["model.register", "registration.succeeded"]


def test_single_file_and_components(client: TestClient, folder: Path, runner: Runner, database: Database) -> None:
    file = folder.parent / "one.safetensors"
    file.write_bytes(b"weights")
    (folder.parent / "parts").mkdir()
    (folder.parent / "parts" / "vae.safetensors").write_bytes(b"vae")
    response = client.post("/v1/models", json={"id": "one", "path": "one.safetensors", "components": "parts"})
    assert response.status_code == 202, response.text
    run_jobs(runner, database)
    model = client.get("/v1/models/one").json()
    assert [one["name"] for one in model["files"]] == ["one.safetensors"]
    assert [(one["name"], bool(one["sha256"])) for one in model["components"]] == [("vae.safetensors", True)]
    assert model["status"] == "admitted"
    names = [one["rfilename"] for one in client.get("/hf/api/models/expunge/one").json()["siblings"]]
    assert names == ["one.safetensors"]


def test_model_that_cannot_be_read_is_refused_with_the_reason(
    client: TestClient, folder: Path, runner: Runner, database: Database
) -> None:
    (folder / "unet.bin").write_bytes(b"a pickle")
    register(client)
    run_jobs(runner, database)
    model = model_of(client)
    assert (model["status"], model["error"]["code"]) == ("refused", "refused_model")
    assert "unet.bin" in model["error"]["message"]
    (folder / "unet.bin").unlink()
    assert register(client).json()["status"] == "registering", "the same source is read again"
    run_jobs(runner, database)
    assert (model_of(client)["status"], model_of(client)["error"]) == ("admitted", None)


def test_link_that_appears_after_the_request_is_not_followed(
    client: TestClient, folder: Path, runner: Runner, database: Database, tmp_path: Path
) -> None:
    register(client)
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved")
    run_jobs(runner, database)
    assert model_of(client)["error"]["code"] == "path_not_allowed"


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"path": "../secret"}, "path", "path_not_allowed"),
        ({"path": "/etc"}, "path", "path_not_allowed"),
        ({"path": "absent"}, "path", "refused_model"),
        ({"components": "/etc"}, "components", "path_not_allowed"),
        ({"path": None}, "", "one_source"),
        ({"hub": {"repo_id": "a/b", "revision": COMMIT}}, "", "one_source"),
        ({"path": None, "hub": {"repo_id": "a/b", "revision": COMMIT}}, "hub", "hub_downloads_disabled"),
        ({"path": None, "hub": {"repo_id": "a/b", "revision": "main"}}, "hub.revision", "string_pattern_mismatch"),
        ({"path": None, "hub": {"repo_id": "a/../b", "revision": COMMIT}}, "hub.repo_id", "string_pattern_mismatch"),
        ({"labels": ["two words"]}, "labels[0]", "string_pattern_mismatch"),
        ({"id": "../x"}, "id", "string_pattern_mismatch"),
        ({"path": "other\x00"}, "path", "string_pattern_mismatch"),
    ],
)
def test_unacceptable_registration_names_the_field(
    client: TestClient, folder: Path, fields: dict[str, Any], field: str, code: str
) -> None:
    response = register(client, **fields)
    assert response.status_code == 422
    error = response.json()["errors"][0]
    assert (error["field"], error["code"]) == (field, code)
    assert client.get("/v1/models/other").status_code == 404


def test_id_of_another_model_conflicts(client: TestClient, folder: Path) -> None:
    write_model(folder.parent / "third")
    assert register(client).status_code == 202
    assert register(client, path="third").json()["code"] == "model_conflict"
    assert register(client, id="tiny").json()["code"] == "model_conflict"


def test_models_are_filtered_and_paged(client: TestClient, folder: Path, runner: Runner, database: Database) -> None:
    register(client, labels=["a", "b"])
    run_jobs(runner, database)
    digest = model_of(client)["editable"][0]["digest"]

    def ids(query: str) -> list[str]:
        return [model["id"] for model in client.get(f"/v1/models?{query}").json()["data"]]

    assert ids("") == ["other", "tiny"]
    assert ids("label=a&label=b") == ids("family=fake") == ids(f"encoder={digest}") == ["other"]
    assert ids("label=a&label=c") == ids("status=refused") == []
    first = client.get("/v1/models?limit=1").json()
    assert (first["has_more"], first["next_cursor"]) == (True, "other")
    assert ids("limit=1&after=other") == ["tiny"]


def test_labels_change_at_once_and_a_profile_is_read(
    client: TestClient, folder: Path, runner: Runner, database: Database
) -> None:
    register(client, labels=["a"])
    run_jobs(runner, database)
    changed = client.patch("/v1/models/other", json={"labels": ["b"], "licence": "MIT"}).json()
    assert (changed["labels"], changed["licence"], changed["status"]) == (["b"], "MIT", "admitted")
    assert client.patch("/v1/models/other", json={"profile": {"refused": 1}}).json()["status"] == "registering"
    run_jobs(runner, database)
    assert model_of(client)["error"]["param"] == "profile"
    client.patch("/v1/models/other", json={"profile": None})
    run_jobs(runner, database)
    assert (model_of(client)["status"], model_of(client)["labels"]) == ("admitted", ["b"])


def test_model_of_the_settings_has_labels_and_digests_but_stays_configured(
    client: TestClient, runner: Runner, database: Database
) -> None:
    assert client.patch("/v1/models/tiny", json={"labels": ["embedded"]}).json()["source"] == "settings"
    client.post("/v1/models", json={"id": "tiny", "path": "tiny"})
    assert client.get("/v1/models/tiny").json()["status"] == "admitted"
    run_jobs(runner, database)
    model = client.get("/v1/models/tiny").json()
    assert model["labels"] == []
    assert model["revision"]
    assert client.delete("/v1/models/tiny").json()["code"] == "model_conflict"


def test_models_of_the_settings_are_read_once_and_when_they_change(
    client: TestClient, app_state: AppState, runner: Runner, database: Database, clock: FakeClock
) -> None:
    def queue() -> list[str]:
        with database.write() as session:
            return queue_unread(session, app_state.registry, now=clock())

    assert queue() == ["tiny"]
    assert queue() == [], "the job is queued"
    assert client.post("/v1/edits", json={"model": "tiny", "removals": [{"concept": "fox"}]}).status_code == 202
    run_jobs(runner, database)
    model = client.get("/v1/models/tiny").json()
    assert (model["status"], model["family"]) == ("admitted", "fake")
    assert model["revision"]
    assert queue() == []
    (app_state.registry.get("tiny").path / WEIGHTS).write_bytes(b"others")
    assert queue() == ["tiny"]
    run_jobs(runner, database)
    changed = client.get("/v1/models/tiny").json()["revision"]
    assert changed
    assert changed != model["revision"]


def test_deleted_model_keeps_its_files_and_is_refused_while_in_use(
    client: TestClient, folder: Path, runner: Runner, database: Database, clock: FakeClock
) -> None:
    register(client)
    run_jobs(runner, database)
    request = EditRequest(model="other", removals=[Removal(concept="fox")], ledger=True)
    with database.write() as session:
        job = jobs.create(session, NewJob(request, "key", tenant="another"), now=clock())
        advance(session, job, NextRevision(0, "d" * 64, 1), now=clock())
    refused = client.delete("/v1/models/other")
    assert (refused.status_code, refused.json()["code"]) == (409, "model_in_use")
    assert "1 unfinished jobs and 1 active removals" in refused.json()["detail"]
    assert client.patch("/v1/models/other", json={"profile": {}}).json()["code"] == "model_in_use"
    assert client.delete("/v1/models/other?force=true").status_code == 204
    assert client.get("/v1/models/other").status_code == 404
    assert (folder / WEIGHTS).is_file()
    assert client.delete("/v1/models/other").status_code == 404


def test_repeated_request_creates_one_job(client: TestClient, folder: Path, database: Database) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"id": "other", "path": "other"}
    first, again = (client.post("/v1/models", json=body, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    with database.read() as session:
        assert session.query(Job).where(Job.kind == "registration").count() == 1


def test_registering_again_replaces_the_job(client: TestClient, folder: Path, database: Database) -> None:
    register(client)
    register(client)
    with database.read() as session:
        statuses = [job.status for job in session.query(Job).order_by(Job.id)]
    assert sorted(statuses) == ["canceled", "queued"]
