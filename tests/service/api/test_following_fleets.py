"""A fleet that follows: a model that comes later is edited, or refused, before it is served."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api_schemas.webhooks import ModelNews, ModelWebhookMessage
from service.core.app_state import AppState
from service.store import api_keys, fleets, model_registrations
from service.store.database import Database
from service.store.orm import Job, WebhookDelivery
from tests.fakes.clock import FakeClock
from tests.service.api.conftest import register_model
from worker.runner import Runner

Settle = Callable[[], None]
Register = Callable[..., None]
BODY: dict[str, Any] = {"selector": {"labels": ["production"]}, "removals": [{"concept": "fox"}], "follow": True}


@pytest.fixture
def register(app_state: AppState, tmp_path: Path) -> Register:
    def register(name: str = "late", weights: bytes = b"A" * 7000, *labels: str) -> None:
        register_model(app_state, tmp_path, name, weights, list(labels or ["production"]))

    return register


@pytest.fixture
def read_models(runner: Runner, database: Database, app_state: AppState) -> Callable[[], None]:
    """Run the jobs that read models, and no others."""

    def run() -> None:
        with database.read() as session:
            queued = session.scalars(select(Job.id).where(Job.status == "queued", Job.kind == "registration")).all()
        for job_id in queued:
            runner.run_job(job_id)
        app_state.registry.forget("late")

    return run


@pytest.fixture
def fleet(client: TestClient, register: Register, settle: Settle) -> Any:
    """A fleet that follows, and is in force for the model `first`."""
    register("first")
    settle()
    created = client.post("/v1/fleets", json=BODY)
    assert created.status_code == 202, created.text
    settle()
    return client.get(created.json()["urls"]["self"]).json()


def status_of(client: TestClient, name: str = "late") -> str:
    found = client.get(f"/v1/models/{name}").json()["status"]
    assert [one["status"] for one in client.get("/v1/models").json()["data"] if one["id"] == name] == [found]
    return str(found)


def hub_serves(client: TestClient, name: str = "late") -> bool:
    return client.get(f"/hf/api/models/expunge/{name}").status_code == 200


def targets_of(client: TestClient, fleet: Any) -> dict[str, Any]:
    return {one["model"]: one for one in client.get(fleet["urls"]["targets"]).json()["data"]}


def audit_actions(client: TestClient) -> list[str]:
    lines = client.get("/v1/audit_log?limit=200").json()["data"]
    return [line["action"] for line in lines if line["target"] == "late"]


@pytest.fixture
def news(client: TestClient, clock: FakeClock) -> Callable[[], list[str]]:
    """Return the messages about the model `late`, oldest first."""
    body = {"url": "https://desk.example/", "events": ["model.admitted", "model.quarantined", "model.refused"]}
    endpoint = client.post("/v1/webhook_endpoints", json=body).json()

    def read() -> list[str]:
        found = client.get(f"/v1/webhook_endpoints/{endpoint['id']}/deliveries?limit=100").json()["data"]
        clock.advance(1)  # later messages have later ids
        return [one["type"] for one in reversed(found) if one["model"] == "late"]

    return read


def test_admission_is_announced(
    client: TestClient,
    fleet: Any,
    register: Register,
    settle: Settle,
    read_models: Settle,
    news: Callable[[], list[str]],
    database: Database,
) -> None:
    register()
    read_models()
    assert news() == ["model.quarantined"]
    settle()
    assert news() == ["model.quarantined", "model.admitted"]
    with database.read() as session:
        (body,) = session.scalars(select(WebhookDelivery.body).where(WebhookDelivery.type == "model.quarantined"))
    message = ModelWebhookMessage.model_validate_json(body)
    assert message.data == ModelNews(id="late", status="quarantined", url="/v1/models/late")
    assert "fox" not in body
    register("late", b"Z" * 7000)
    read_models()
    assert news()[2:] == ["model.quarantined"], "it has other weights"
    client.post(f"{fleet['urls']['self']}/cancel")
    assert news()[2:] == ["model.quarantined", "model.admitted"], "the rule has ended"
    settle()
    assert len(news()) == 4


def test_refusal_and_its_repair_are_announced(
    client: TestClient, register: Register, settle: Settle, read_models: Settle, news: Callable[[], list[str]]
) -> None:
    register("first")
    settle()
    client.post("/v1/fleets", json=BODY | {"metadata": {"refuse": "edit", "refuse_model": "late"}})
    settle()
    register("late", b"Z" * 7000)
    read_models()
    assert news() == ["model.quarantined"]
    settle()
    assert news() == ["model.quarantined", "model.refused"]
    edit = client.get("/v1/jobs?status=failed").json()["data"][0]["id"]
    client.post(f"/v1/jobs/{edit}/retry")
    assert news()[2:] == ["model.quarantined"]


def test_model_without_a_rule_is_announced_when_it_was_read(
    client: TestClient, register: Register, settle: Settle, news: Callable[[], list[str]]
) -> None:
    register()
    settle()
    assert news() == ["model.admitted"]
    client.patch("/v1/models/late", json={"profile": {"refused": True}})
    settle()
    assert news() == ["model.admitted", "model.refused"]


def test_later_model_is_edited_before_it_is_served(
    client: TestClient, fleet: Any, register: Register, read_models: Settle, settle: Settle
) -> None:
    assert (fleet["status"], fleet["following"], fleet["counts"]["total"]) == ("in_force", True, 1)
    register()
    read_models()
    assert (status_of(client), hub_serves(client)) == ("quarantined", False)
    settle()
    assert (status_of(client), hub_serves(client)) == ("admitted", True)
    target = targets_of(client, fleet)["late"]
    assert (target["state"], target["followed"], target["application"]) == ("in_force", True, "carried")
    assert client.get("/v1/models/late/ledger").json()["removals"][0]["removal"]["concept"] == "fox"
    again = client.get(fleet["urls"]["self"]).json()
    assert (again["status"], again["counts"]["in_force"]) == ("in_force", 2)
    assert again["statement"] != fleet["statement"]
    assert audit_actions(client) == ["model.quarantine", "model.admit"]


def test_model_with_other_encoders_is_solved_and_judged(
    client: TestClient, fleet: Any, register: Register, settle: Settle
) -> None:
    register("late", b"Z" * 7000)
    settle()
    target = targets_of(client, fleet)["late"]
    assert (target["application"], target["verdict"]) == ("solved", "passed")
    assert hub_serves(client)


def test_edit_of_a_model_in_quarantine_is_not_served(
    client: TestClient, fleet: Any, register: Register, read_models: Settle
) -> None:
    """A client must not get around the quarantine by the name of an edit."""
    register()
    read_models()
    assert client.get("/hf/expunge/late/resolve/main/model_index.json").status_code == 404
    assert client.get("/hf/api/models/expunge/late/revision/main").status_code == 404
    assert hub_serves(client, "first"), "models that were there before are served"


@pytest.mark.parametrize("outcome", [{"refuse": "edit"}, {"fail": "1"}])
def test_model_whose_edit_is_not_in_force_is_refused(
    client: TestClient, register: Register, settle: Settle, outcome: dict[str, str]
) -> None:
    register("first")
    settle()
    fleet = client.post("/v1/fleets", json=BODY | {"metadata": outcome}).json()
    settle()
    assert status_of(client, "first") == "admitted"
    register("late", b"Z" * 7000)
    settle()
    model = client.get("/v1/models/late").json()
    assert (model["status"], model["error"]["code"]) == ("refused", "admission_refused")
    assert fleet["id"] in model["error"]["message"]
    assert not hub_serves(client)
    assert audit_actions(client) == ["model.quarantine", "model.refuse"]


def test_rule_ends_with_the_fleet(
    client: TestClient, fleet: Any, register: Register, read_models: Settle, settle: Settle
) -> None:
    register()
    read_models()
    canceled = client.post(f"{fleet['urls']['self']}/cancel").json()
    assert canceled["following"] is False
    assert hub_serves(client)
    register("other")
    settle()
    assert set(targets_of(client, fleet)) == {"first", "late"}


def test_revocation_exempts_a_model_from_the_rule(
    client: TestClient, fleet: Any, register: Register, read_models: Settle, settle: Settle
) -> None:
    register()
    settle()
    assert client.get("/hf/expunge/late/resolve/main/model_index.json").status_code == 200
    client.post(f"/v1/edits/{targets_of(client, fleet)['late']['edit']}/revoke")
    settle()
    assert targets_of(client, fleet)["late"]["state"] == "revoked"
    assert (status_of(client), hub_serves(client)) == ("admitted", True)
    assert client.get(fleet["urls"]["self"]).json()["following"]
    register("late", b"Z" * 7000)
    read_models()
    assert not hub_serves(client), "the rule applies to new weights"


def test_models_that_are_not_selected_are_served(
    client: TestClient, fleet: Any, register: Register, settle: Settle
) -> None:
    register("late", b"A" * 7000, "test")
    settle()
    assert (status_of(client), hub_serves(client)) == ("admitted", True)
    client.patch("/v1/models/late", json={"labels": ["production"]})
    assert (status_of(client), hub_serves(client)) == ("quarantined", False)
    settle()
    assert hub_serves(client)


def test_model_with_new_weights_is_quarantined_again(
    client: TestClient, fleet: Any, register: Register, read_models: Settle, settle: Settle
) -> None:
    register()
    settle()
    register()
    read_models()
    assert hub_serves(client), "read again with the same weights"
    register("late", b"Z" * 7000)
    read_models()
    assert not hub_serves(client)


def test_other_tenants_have_their_own_rules(
    client: TestClient, fleet: Any, register: Register, read_models: Settle, database: Database, clock: FakeClock
) -> None:
    register()
    read_models()
    key = api_keys.generate_api_key()
    with database.write() as session:
        api_keys.register(session, key, now=clock(), tenant="other")
    client.headers["Authorization"] = f"Bearer {key}"
    assert (status_of(client), hub_serves(client)) == ("admitted", True)


def test_unread_model_is_in_quarantine_for_who_follows(client: TestClient, fleet: Any) -> None:
    """`tiny` comes from the settings, and no job has read it."""
    assert (status_of(client, "tiny"), hub_serves(client, "tiny")) == ("quarantined", False)


def test_interrupted_reading_admits_nothing(
    client: TestClient,
    fleet: Any,
    register: Register,
    runner: Runner,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker dies before the commit that would end the reading: the model stays out, and the next attempt adds it once."""
    register()
    with database.read() as session:
        (job_id,) = session.scalars(select(Job.id).where(Job.status == "queued")).all()

    class Killed(BaseException):
        pass

    def die(point: str) -> None:
        if point == "model.written":
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(model_registrations, "failpoint", die)
        with pytest.raises(Killed):
            runner.run_job(job_id)
    assert (status_of(client), hub_serves(client)) == ("registering", False)
    assert set(targets_of(client, fleet)) == {"first"}
    runner.run_job(job_id)
    assert set(targets_of(client, fleet)) == {"first", "late"}
    assert not hub_serves(client)


def test_interrupted_admission_is_repeated(
    client: TestClient,
    fleet: Any,
    register: Register,
    settle: Settle,
    database: Database,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    register()
    settle()
    register("late", b"Z" * 7000)
    settle()

    def die(point: str) -> None:
        raise RuntimeError(point)

    register("later", b"Y" * 7000)
    with monkeypatch.context() as patched:
        patched.setattr(fleets, "failpoint", die)
        with pytest.raises(RuntimeError):
            settle()
        assert not hub_serves(client, "later")
    settle()
    assert hub_serves(client, "later")


def test_named_models_cannot_be_followed(client: TestClient) -> None:
    refused = client.post("/v1/fleets", json=BODY | {"selector": {"models": ["tiny"]}})
    assert [error["code"] for error in refused.json()["errors"]] == ["follows_named_models"]
