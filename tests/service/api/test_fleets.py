"""Fleets: models with equal text encoders are solved once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from editor.publishing.attestation.dsse import find_signers, parse_json_lines
from editor.publishing.attestation.keys import KeyFolder
from service.store import fleets
from service.store.database import Database
from service.store.orm import Artifact, Job, ModelRegistration, Revision
from tests.fakes.clock import FakeClock
from tests.fakes.model import WEIGHTS
from tests.service.api.conftest import ENCODERS
from worker.runner import Runner


def request(**more: Any) -> dict[str, Any]:
    return {"selector": {"labels": ["production"]}, "removals": [{"concept": "fox"}]} | more


def targets_of(client: TestClient, fleet: Any) -> dict[str, Any]:
    return {one["model"]: one for one in client.get(fleet["urls"]["targets"]).json()["data"]}


@pytest.mark.usefixtures("models")
def test_equal_encoders_are_solved_once_and_carried_over(
    client: TestClient, settle: Callable[[], None], database: Database
) -> None:
    settle()
    plan = client.post("/v1/fleets:plan", json=request()).json()
    assert (plan["counts"]["total"], plan["counts"]["groups"]) == (4, 2)
    with database.read() as session:
        assert not session.scalars(select(Job).where(Job.kind == "removal")).all(), "a plan queues nothing"
    response = client.post("/v1/fleets", json=request())
    assert response.status_code == 202, response.text
    fleet = response.json()
    assert fleet["status"] == "running"
    settle()
    done = client.get(fleet["urls"]["self"]).json()
    assert (done["status"], done["counts"]["in_force"], done["counts"]["pending"]) == ("in_force", 4, 0)
    targets = targets_of(client, fleet)
    assert sorted(one["application"] for one in targets.values()) == ["carried", "carried", "solved", "solved"]
    assert {name: one["revision"] for name, one in targets.items()} == {"a1": 1, "a2": 1, "a3": 1, "b1": 1}
    assert targets["a2"]["carried_from"] == targets["a1"]["edit"]
    with database.read() as session:
        assert len(session.scalars(select(Revision)).all()) == 4
        deltas = session.scalars(select(Artifact.sha256).where(Artifact.name == "delta.safetensors")).all()
    assert len(deltas) == 4
    for name, target in targets.items():
        edited = client.get(f"/v1/edits/{target['edit']}/artifacts/{WEIGHTS}").content
        assert edited[:1000] == ENCODERS[name][:1000]
        assert edited != ENCODERS[name]
        assert client.get(f"/v1/models/{name}/ledger").json()["removals"][0]["removal"]["concept"] == "fox"
    statement = client.get(fleet["urls"]["statement"])
    assert json.loads(statement.content)["predicateType"] == "urn:expunge:predicate:fleet:v1"
    actions = [line["action"] for line in client.get("/v1/audit_log?limit=100").json()["data"]]
    assert {"fleet.create", "fleet.end", "statement.succeeded"} <= set(actions)


@pytest.mark.usefixtures("models")
def test_models_without_a_clip_encoder_are_grouped_by_their_weights(
    client: TestClient, settle: Callable[[], None], database: Database
) -> None:
    settle()
    with database.write() as session:
        for name, digest in {"a1": "1", "a2": "2", "a3": "1"}.items():
            row = session.get_one(ModelRegistration, name)
            row.encoders, row.digest = [], digest
    plan = client.post("/v1/fleets:plan", json=request()).json()
    assert (plan["counts"]["total"], plan["counts"]["groups"]) == (4, 3)


@pytest.mark.usefixtures("models")
def test_statement_is_signed_over_every_manifest(
    client: TestClient, settle: Callable[[], None], runner: Runner, tmp_path: Path, database: Database
) -> None:
    settle()
    KeyFolder(tmp_path / "keys").create(runner.clock())
    object.__setattr__(runner.settings, "signing_dir", tmp_path / "keys")
    fleet = client.post("/v1/fleets", json=request(withhold_names=True)).json()
    settle()
    (envelope,) = parse_json_lines(client.get(fleet["urls"]["statement"]).content)
    assert find_signers(envelope, KeyFolder(tmp_path / "keys").public())
    statement = json.loads(envelope.payload)
    with database.read() as session:
        manifests = {job.manifest_sha256 for job in session.scalars(select(Job).where(Job.kind == "removal"))}
    signed = {one["name"]: one["digest"]["sha256"] for one in statement["subject"]}
    assert set(signed) == {"targets", "a1@1", "a2@1", "a3@1", "b1@1"}
    assert manifests == set(signed.values()) - {signed["targets"]}
    assert "fox" not in json.dumps(statement)


@pytest.mark.usefixtures("models")
def test_targets_of_a_group_that_fails_are_tried_on_their_own(client: TestClient, settle: Callable[[], None]) -> None:
    settle()
    fleet = client.post("/v1/fleets", json=request(metadata={"refuse": "edit"})).json()
    settle()
    done = client.get(fleet["urls"]["self"]).json()
    assert (done["status"], done["counts"]["failed"]) == ("failed", 4)
    assert all(one["error"]["code"] for one in targets_of(client, fleet).values())
    assert done["statement"], "a failure is stated too"


@pytest.mark.usefixtures("models")
def test_failed_gates_never_read_as_in_force(client: TestClient, settle: Callable[[], None]) -> None:
    settle()
    fleet = client.post("/v1/fleets", json=request(metadata={"fail": "1"})).json()
    settle()
    done = client.get(fleet["urls"]["self"]).json()
    assert (done["status"], done["counts"]["ineffective"], done["counts"]["in_force"]) == ("ineffective", 4, 0)


@pytest.mark.usefixtures("models")
def test_delta_that_does_not_fit_is_solved_again(client: TestClient, settle: Callable[[], None]) -> None:
    settle()
    fleet = client.post("/v1/fleets", json=request(metadata={"carry": "refuse"})).json()
    settle()
    targets = targets_of(client, fleet)
    assert {one["state"] for one in targets.values()} == {"in_force"}
    assert {(one["application"], one["carried_from"]) for one in targets.values()} == {("solved", None)}
    runs = client.get(f"/v1/edits/{targets['a2']['edit']}/artifacts/runs.txt").text
    assert runs == "trace\nedit\nvalidate\npublish\n"


@pytest.mark.usefixtures("models")
def test_statement_says_which_models_were_solved_without_validation(
    client: TestClient, settle: Callable[[], None]
) -> None:
    settle()
    unvalidated = request(metadata={"carry": "refuse a2"}, validation={"enabled": False})
    fleet = client.post("/v1/fleets", json=unvalidated).json()
    settle()
    targets = targets_of(client, fleet)
    signed = json.loads(client.get(fleet["urls"]["statement"]).content)["predicate"]["targets"]
    for found in (targets, {one["model"]: one for one in signed}):
        outcomes = {name: (one["application"], one["verdict"]) for name, one in found.items()}
        assert outcomes == {name: ("carried" if name == "a3" else "solved", None) for name in ("a1", "a2", "a3", "b1")}
    assert [one["carriedFrom"] for one in signed] == [None, None, targets["a1"]["edit"], None]
    assert {one["state"] for one in targets.values()} == {"in_force"}


@pytest.mark.usefixtures("models")
def test_revoked_edit_is_in_force_no_more(client: TestClient, settle: Callable[[], None]) -> None:
    settle()
    fleet = client.post("/v1/fleets", json=request()).json()
    settle()
    first = client.get(fleet["urls"]["self"]).json()
    edit = targets_of(client, fleet)["a1"]["edit"]
    revocation = client.post(f"/v1/edits/{edit}/revoke").json()["id"]
    assert targets_of(client, fleet)["a1"]["state"] == "in_force", "until the revocation has ended"
    settle()
    done = client.get(fleet["urls"]["self"]).json()
    assert (done["status"], done["counts"]["in_force"], done["counts"]["revoked"]) == ("revoked", 3, 1)
    assert done["statement"] not in (None, first["statement"])
    targets = targets_of(client, fleet)
    assert (targets["a1"]["state"], targets["a1"]["revocation"]) == ("revoked", revocation)
    assert (targets["a2"]["state"], targets["a2"]["verdict"]) == ("in_force", "passed"), "it has a ledger of its own"
    signed = json.loads(client.get(fleet["urls"]["statement"]).content)["predicate"]["targets"]
    states = {one["model"]: (one["state"], one["revocation"]) for one in signed}
    assert states == {"a1": ("revoked", revocation)} | dict.fromkeys(("a2", "a3", "b1"), ("in_force", None))


@pytest.mark.usefixtures("models")
def test_delta_of_an_edit_that_is_revoked_meanwhile_is_still_measured(
    client: TestClient, settle: Callable[[], None], database: Database, clock: FakeClock, runner: Runner
) -> None:
    settle()
    fleet = client.post("/v1/fleets", json=request()).json()

    def step() -> list[str]:
        with database.write() as session:
            fleets.advance_all(session, now=clock())
        with database.read() as session:
            return list(session.scalars(select(Job.id).where(Job.status == "queued").order_by(Job.id)))

    for job_id in step():
        runner.run_job(job_id)
    carried = step()
    client.post(f"/v1/edits/{targets_of(client, fleet)['a1']['edit']}/revoke")
    settle()
    targets = targets_of(client, fleet)
    assert {targets[name]["edit"] for name in ("a2", "a3")} == set(carried)
    assert {name: one["state"] for name, one in targets.items()} == {
        "a1": "revoked",
        "a2": "in_force",
        "a3": "in_force",
        "b1": "in_force",
    }


@pytest.mark.usefixtures("models")
def test_models_with_other_active_removals_are_another_group(client: TestClient, settle: Callable[[], None]) -> None:
    settle()
    body = {"model": "a1", "removals": [{"concept": "owl"}], "ledger": True}
    client.post("/v1/edits", json=body)
    settle()
    plan = client.post("/v1/fleets:plan", json=request()).json()
    groups = {one["model"]: one["group"] for one in plan["targets"]}
    assert plan["counts"]["groups"] == 3
    assert groups["a2"] == groups["a3"] != groups["a1"]


@pytest.mark.usefixtures("models")
def test_interrupted_steps_change_nothing_and_are_repeated(
    client: TestClient,
    settle: Callable[[], None],
    database: Database,
    clock: FakeClock,
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The dispatcher dies before each of its commits: no edit is lost, and none is queued twice."""
    settle()
    fleet = client.post("/v1/fleets", json=request()).json()

    def die(point: str) -> None:
        raise RuntimeError(point)

    def step() -> None:
        with database.write() as session:
            fleets.advance_all(session, now=clock())

    def unfinished_jobs() -> list[str]:
        with database.read() as session:
            return list(session.scalars(select(Job.id).where(Job.status == "queued").order_by(Job.id)))

    while client.get(fleet["urls"]["self"]).json()["finished_at"] is None:
        before = unfinished_jobs()
        with monkeypatch.context() as patched:
            patched.setattr(fleets, "failpoint", die)
            with pytest.raises(RuntimeError, match=r"fleet\."):
                step()
        assert unfinished_jobs() == before
        step()
        for job_id in unfinished_jobs():
            runner.run_job(job_id)
    with database.read() as session:
        kinds = session.scalars(select(Job.kind).where(Job.kind != "registration")).all()
    assert sorted(kinds) == ["removal"] * 4 + ["statement"]
    assert client.get(fleet["urls"]["self"]).json()["status"] == "in_force"


@pytest.mark.usefixtures("models")
def test_canceled_fleet_queues_nothing_more(client: TestClient, settle: Callable[[], None]) -> None:
    settle()
    fleet = client.post("/v1/fleets", json=request()).json()
    canceled = client.post(f"{fleet['urls']['self']}/cancel").json()
    assert canceled["counts"]["failed"] == 4
    settle()
    done = client.get(fleet["urls"]["self"]).json()
    assert (done["status"], bool(done["finished_at"])) == ("canceled", True)


@pytest.mark.usefixtures("models")
def test_repeated_request_creates_one_fleet(client: TestClient, settle: Callable[[], None]) -> None:
    settle()
    headers = {"Idempotency-Key": "once"}
    first, again = (client.post("/v1/fleets", json=request(), headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    assert len(client.get("/v1/fleets").json()["data"]) == 1
    other = client.post("/v1/fleets", json=request(priority="high"), headers=headers)
    assert other.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("change", "field", "code"),
    [
        ({"selector": {}}, "selector", "empty_selector"),
        ({"selector": {"labels": ["none"]}}, "selector", "no_targets"),
        ({"selector": {"models": ["absent"]}}, "selector.models[0]", "model_not_admitted"),
        ({"selector": {"models": ["a1"]}}, "selector.models[0]", "model_not_admitted"),
        ({"selector": {"encoder": "x"}}, "selector.encoder", "string_pattern_mismatch"),
        ({"removals": [{"concept": "fox"}, {"concept": "fox"}]}, "removals", "duplicate"),
        ({"options": {"method": "uce"}}, "options", "ledger_options"),
    ],
)
@pytest.mark.usefixtures("models")
def test_unacceptable_fleet_names_the_field(client: TestClient, change: dict[str, Any], field: str, code: str) -> None:
    response = client.post("/v1/fleets", json=request(**change))
    assert response.status_code == 422
    error = response.json()["errors"][0]
    assert (error["field"], error["code"]) == (field, code)
