"""The ledger of a model is carried over to another model by one edit."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.edits import EditOptions, EditRequest, Removal
from service.core.app_state import AppState
from service.store import jobs, ledgers
from service.store.jobs import NewJob
from service.store.ledgers import NextRevision
from service.store.orm import Job
from service.store.registered_files import register_model
from tests.fakes.model import write_model

REBASE = "/v1/models/tiny/ledger/rebase"


@pytest.fixture(autouse=True)
def _other_model(app_state: AppState, tmp_path: Path) -> None:
    register_model(app_state.database, "other", write_model(tmp_path / "models" / "other"), app_state.clock())


def join_ledger(app_state: AppState, number: int, *removals: Removal, **fields: Any) -> str:
    """Add removals to the ledger, as an edit does that has succeeded."""
    request = EditRequest(model="tiny", removals=list(removals), ledger=True, **fields)
    with app_state.database.write() as session:
        job = jobs.create(session, NewJob(request, "key"), now=app_state.clock())
        ledgers.advance(session, job, NextRevision(number, f"{number:064}", number + 1), now=app_state.clock())
        return job.id


def test_active_removals_become_one_edit_of_the_other_model(client: TestClient, app_state: AppState) -> None:
    fox, ink = Removal(concept="fox", replacement="dog face"), Removal(concept="ink", kind="style")
    options = EditOptions(preservation=2.0)
    join_ledger(app_state, 0, fox, options=options)
    join_ledger(app_state, 1, ink, fox, options=options, withhold_names=True)
    reply = client.post(REBASE, json={"onto": "other", "metadata": {"ticket": "T-1"}})
    assert reply.status_code == 202, reply.text
    assert reply.headers["location"] == f"/v1/edits/{reply.json()['id']}"
    with app_state.database.read() as session:
        request = EditRequest.model_validate(session.get_one(Job, reply.json()["id"]).request)
    assert (request.model, request.ledger, request.withhold_names) == ("other", True, True)
    assert (request.removals, request.options, request.metadata) == ([fox, ink], options, {"ticket": "T-1"})
    assert request.validation.enabled


def test_revoked_removals_stay_behind(client: TestClient, app_state: AppState) -> None:
    kept, revoked = Removal(concept="fox"), Removal(concept="owl")
    join_ledger(app_state, 0, kept)
    edit_id = join_ledger(app_state, 1, revoked)
    with app_state.database.write() as session:
        request = EditRequest.model_validate(session.get_one(Job, edit_id).request)
        job = jobs.create(session, NewJob(request, "key", kind="revocation", revokes=edit_id), now=app_state.clock())
        ledgers.advance(session, job, NextRevision(2, "f" * 64, 1), now=app_state.clock())
    edit = client.post(REBASE, json={"onto": "other"}).json()
    assert [one["concept"] for one in edit["request"]["removals"]] == ["fox"]


def test_repeated_rebase_is_one_edit(client: TestClient, app_state: AppState) -> None:
    join_ledger(app_state, 0, Removal(concept="fox"))
    replies = [client.post(REBASE, json={"onto": "other"}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert replies[0].json()["id"] == replies[1].json()["id"]


def test_ledger_that_one_edit_cannot_make_is_refused(client: TestClient, app_state: AppState) -> None:
    empty = client.post(REBASE, json={"onto": "other"})
    assert (empty.status_code, empty.json()["code"]) == (409, "nothing_to_rebase")
    join_ledger(app_state, 0, Removal(concept="fox"))
    join_ledger(app_state, 1, Removal(concept="owl"), options=EditOptions(preservation=2.0))
    mixed = client.post(REBASE, json={"onto": "other"})
    assert "different options" in mixed.json()["detail"]


@pytest.mark.parametrize(("onto", "status"), [("tiny", 422), ("none", 422), ("", 422)])
def test_wrong_model_is_refused(client: TestClient, app_state: AppState, onto: str, status: int) -> None:
    join_ledger(app_state, 0, Removal(concept="fox"))
    assert client.post(REBASE, json={"onto": onto}).status_code == status


def test_other_ledger_is_not_contradicted(client: TestClient, app_state: AppState) -> None:
    join_ledger(app_state, 0, Removal(concept="fox", replacement="dog face"))
    with app_state.database.write() as session:
        request = EditRequest(model="other", removals=[Removal(concept="dog face")], ledger=True)
        job = jobs.create(session, NewJob(request, "key"), now=app_state.clock())
        ledgers.advance(session, job, NextRevision(0, "e" * 64, 1), now=app_state.clock())
    reply = client.post(REBASE, json={"onto": "other"})
    assert (reply.status_code, reply.json()["code"]) == (409, "ledger_conflict")
