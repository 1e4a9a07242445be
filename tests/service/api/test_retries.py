"""The retry of a job counts for the case and for the fleet that wait for it, in the transaction that creates it."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from api_schemas.cases import Case
from api_schemas.cases_requests import HoldRequest
from api_schemas.jobs import JobError
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import contests
from service.store import cases, claims, fleets
from service.store.orm import Job
from tests.fakes.clock import FakeClock
from tests.fakes.desk import ERASE, WITHHOLD, Desk
from tests.service.api.conftest import register_model

Settle = Callable[[], None]
FLEET: dict[str, Any] = {"selector": {"labels": ["production"]}, "removals": [{"concept": "fox"}]}


@pytest.fixture
def desk(app_state: AppState, clock: FakeClock) -> Desk:
    agent, reviewer = (Caller(name, "default", frozenset({"cases:operate"})) for name in ("agent", "reviewer"))
    return Desk(app_state, clock, agent, reviewer)


def retry(client: TestClient, job_id: str | None, status: int = 202) -> Any:
    reply = client.post(f"/v1/jobs/{job_id}/retry")
    assert reply.status_code == status, reply.text
    return reply.json()


def count_jobs(app_state: AppState) -> int:
    with app_state.database.read() as session:
        return session.scalars(select(func.count()).select_from(Job)).one()


def failed_case(desk: Desk) -> Case:
    """Return a case whose edit has failed."""
    case = desk.apply(desk.open(), ERASE)
    desk.end_edit(case.targets[0].edit, fails=True)
    desk.sweep()
    return desk.read(case.id)


def test_retried_edit_puts_its_case_in_force(client: TestClient, desk: Desk) -> None:
    case = failed_case(desk)
    assert (case.state, case.targets[0].state) == ("at_risk", "ineffective")
    again = retry(client, case.targets[0].edit)["id"]
    target = desk.read(case.id).targets[0]
    assert (target.state, target.edit, target.verdict) == ("queued", again, None)
    desk.end_edit(again)
    desk.sweep()
    case = desk.read(case.id)
    assert (case.state, case.targets[0].state, case.targets[0].revision) == ("in_force", "in_force", 1)
    with desk.app_state.database.read() as session:
        statement = cases.latest_statement(session, case.id)
        kinds = [event.kind for event in cases.events(session, case.id, after=0, limit=99)]
    assert statement
    assert kinds.count("edit_queued") == 2


def test_retry_before_the_failure_was_noticed_counts_too(client: TestClient, desk: Desk) -> None:
    case = desk.apply(desk.open(), ERASE)
    desk.end_edit(case.targets[0].edit, fails=True)
    desk.end_edit(retry(client, case.targets[0].edit)["id"])
    desk.sweep()
    assert desk.read(case.id).state == "in_force"


def test_retried_edit_ends_the_withholding(client: TestClient, desk: Desk) -> None:
    case = desk.apply(desk.open(), ERASE)
    failed = case.targets[0].edit
    desk.apply(case, WITHHOLD)
    desk.end_edit(failed, fails=True)
    desk.sweep()
    target = desk.read(case.id).targets[0]
    assert (target.state, target.edit) == ("withheld", None)
    again = retry(client, failed)["id"]
    assert desk.read(case.id).targets[0].state == "withheld", "until the edit has passed"
    desk.end_edit(again)
    desk.sweep()
    assert desk.read(case.id).targets[0].state == "in_force"


def test_job_that_only_names_a_case_is_not_its_edit(client: TestClient, desk: Desk) -> None:
    case = desk.apply(desk.open(), WITHHOLD)
    body = {"model": "tiny", "removals": [{"concept": "owl"}], "metadata": {"case": case.reference}}
    other = client.post("/v1/edits", json=body).json()["id"]
    desk.end_edit(other, fails=True)
    desk.end_edit(retry(client, other)["id"])
    desk.sweep()
    assert (desk.read(case.id).targets[0].state, desk.read(case.id).targets[0].edit) == ("withheld", None)


def test_retried_revocation_restores_the_case(client: TestClient, desk: Desk) -> None:
    case = desk.restore(desk.in_force())
    first = case.targets[0].revocation
    desk.end_edit(first, fails=True)
    desk.sweep()
    assert desk.read(case.id).targets[0].state == "in_force"
    again = retry(client, first)["id"]
    assert desk.read(case.id).targets[0].state == "revoking"
    desk.end_edit(again)
    desk.sweep()
    assert desk.read(case.id).state == "restored"


def test_nothing_is_restored_by_a_retry_before_its_time(client: TestClient, desk: Desk) -> None:
    case = desk.restore(desk.in_force())
    desk.end_edit(case.targets[0].revocation, fails=True)
    desk.sweep()
    desk.counter(case)
    assert retry(client, case.targets[0].revocation, 409)["code"] == "restored_too_early"
    assert desk.read(case.id).targets[0].state == "in_force"


def test_edit_that_its_case_does_not_want_any_more_is_not_retried(
    client: TestClient, desk: Desk, app_state: AppState
) -> None:
    decided, restored = failed_case(desk), failed_case(desk)
    desk.decide(decided, ERASE | {"removal": {"concept": "elk"}})
    desk.restore(restored)
    before = count_jobs(app_state)
    for case in (decided, restored):
        assert retry(client, case.targets[0].edit, 409)["code"] == "wrong_case_state"
    assert count_jobs(app_state) == before


def test_retry_that_is_interrupted_changes_nothing(
    client: TestClient, desk: Desk, app_state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, before = failed_case(desk), count_jobs(app_state)
    with monkeypatch.context() as patched:
        patched.setattr(cases, "append_event", lambda *_, **__: 1 / 0)
        retry(client, case.targets[0].edit, 500)
    assert (count_jobs(app_state), desk.read(case.id)) == (before, case)
    assert retry(client, case.targets[0].edit)


@pytest.fixture
def fleet(client: TestClient, app_state: AppState, tmp_path: Path, settle: Settle) -> Any:
    """A fleet that follows, of two models, one of whose edits has failed."""
    for name in ("a", "b"):
        register_model(app_state, tmp_path, name, name.encode() * 7000, ["production"])
    settle()
    created = client.post("/v1/fleets", json=FLEET | {"follow": True}).json()
    fail_edit(client, app_state, created, "a")
    settle()
    return client.get(created["urls"]["self"]).json()


def fail_edit(client: TestClient, app_state: AppState, fleet: Any, model: str) -> None:
    now = app_state.clock()
    with app_state.database.write() as session:
        fleets.advance_all(session, now=now)
    with app_state.database.write() as session:
        edit = next(row.edit_id for row in fleets.targets(session, fleet["id"]) if row.model == model)
        claim = claims.claim(session, edit or "", owner="w", lease=timedelta(seconds=30), now=now)
        assert claim
        claims.fail(session, claim, JobError(code="crashed", message="crashed"), now=now)


def target_of(client: TestClient, fleet: Any, model: str) -> Any:
    found = client.get(fleet["urls"]["targets"]).json()["data"]
    return next(one for one in found if one["model"] == model)


def test_retried_edit_counts_for_its_fleet(client: TestClient, fleet: Any, settle: Settle) -> None:
    assert (fleet["status"], fleet["counts"]["failed"], fleet["counts"]["in_force"]) == ("failed", 1, 1)
    target = target_of(client, fleet, "a")
    again = retry(client, target["edit"])["id"]
    target = target_of(client, fleet, "a")
    assert (target["state"], target["edit"], target["error"]) == ("queued", again, None)
    running = client.get(fleet["urls"]["self"]).json()
    assert (running["status"], running["finished_at"], running["statement"]) == ("running", None, None)
    settle()
    done = client.get(fleet["urls"]["self"]).json()
    assert (done["status"], done["counts"]["in_force"]) == ("in_force", 2)
    statement = client.get(fleet["urls"]["statement"]).json()
    assert done["statement"] != fleet["statement"], "a new statement"
    assert again in str(statement)


def test_retried_edit_admits_the_model(
    client: TestClient, fleet: Any, app_state: AppState, tmp_path: Path, settle: Settle
) -> None:
    register_model(app_state, tmp_path, "late", b"Z" * 7000, ["other"])
    settle()
    client.patch("/v1/models/late", json={"labels": ["production"]})
    fail_edit(client, app_state, fleet, "late")
    settle()
    assert client.get("/v1/models/late").json()["status"] == "refused"
    retry(client, target_of(client, fleet, "late")["edit"])
    assert client.get("/v1/models/late").json()["status"] == "quarantined"
    settle()
    assert client.get("/v1/models/late").json()["status"] == "admitted"


def test_interrupted_retry_of_a_fleet_changes_nothing(
    client: TestClient, fleet: Any, app_state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, before = target_of(client, fleet, "a"), count_jobs(app_state)
    with monkeypatch.context() as patched:
        patched.setattr(fleets, "failpoint", lambda _: 1 / 0)
        retry(client, target["edit"], 500)
    assert (count_jobs(app_state), target_of(client, fleet, "a")) == (before, target)
    assert client.get(fleet["urls"]["self"]).json() == fleet


def test_held_restoration_is_not_retried(client: TestClient, desk: Desk) -> None:
    case = desk.restore(desk.in_force())
    desk.end_edit(case.targets[0].revocation, fails=True)
    desk.sweep()
    request = HoldRequest(version=desk.read(case.id).version, held=True, reason="a court action")
    contests.hold(desk.app_state, desk.agent, case.id, request)
    assert retry(client, case.targets[0].revocation, 409)["code"] == "wrong_case_state"
