"""The accept path for revocations and dry runs: admission, Idempotency-Key, quota and audit."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import IntegrityError

from api_schemas.edits import EditRequest
from service.core import edits
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import PendingDryRun, PendingEdit
from service.errors import LedgerConflict
from service.store import audit, claims, jobs, ledgers
from service.store.ledgers import NextRevision
from service.store.orm import Job
from tests.service.core.test_edits import BODY, count

CALLER = Caller("key", "default", frozenset())


def publish(client: TestClient, app_state: AppState) -> str:
    """Create an edit that is active in the ledger, and return its URL."""
    edit_id = client.post("/v1/edits", json=BODY | {"ledger": True}).json()["id"]
    now = app_state.clock()
    with app_state.database.write() as session:
        claim = claims.claim(session, edit_id, owner="w", lease=timedelta(seconds=30), now=now)
        job = jobs.get(session, edit_id)
        assert claim
        assert job
        ledgers.advance(session, job, NextRevision(0, "d" * 64, 1), now=now)
        assert claims.succeed(session, claim, [], "0" * 64, "passed", now=now)
    return f"/v1/edits/{edit_id}"


def actions(app_state: AppState) -> list[str]:
    with app_state.database.read() as session:
        return [line.action for line in audit.all_lines(session)]


def test_revocation_creates_one_job(client: TestClient, app_state: AppState) -> None:
    url = publish(client, app_state)
    first, second = (client.post(f"{url}/revoke") for _ in range(2))
    assert (first.status_code, first.json()["kind"], first.json()["revokes"]) == (202, "revocation", url.split("/")[-1])
    assert second.json() == first.json()
    assert actions(app_state).count("edit.revoke") == 1
    assert count(app_state.database, Job) == 2


def test_repeated_key_returns_the_same_revocation(client: TestClient, app_state: AppState) -> None:
    url = publish(client, app_state)
    replies = [client.post(f"{url}/revoke", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert [reply.headers["Idempotent-Replayed"] for reply in replies] == ["false", "true"]
    assert replies[0].json() == replies[1].json()


def test_edit_without_active_removals_is_not_revocable(client: TestClient) -> None:
    edit_id = client.post("/v1/edits", json=BODY).json()["id"]
    response = client.post(f"/v1/edits/{edit_id}/revoke")
    assert (response.status_code, response.json()["code"]) == (409, "not_revocable")


def test_revocations_and_batches_count_towards_the_quota(client: TestClient, app_state: AppState) -> None:
    url = publish(client, app_state)
    object.__setattr__(app_state, "settings", app_state.settings.model_copy(update={"max_unfinished_jobs": 1}))
    client.post("/v1/edits", json=BODY)
    for path, body in ((f"{url}/revoke", None), ("/v1/batches", {"model": "tiny", "removals": [{"concept": "owl"}]})):
        response = client.post(path, json=body)
        assert (response.status_code, response.json()["code"]) == (429, "too_many_jobs")


def test_dry_run_queues_a_plan_without_an_audit_entry(app_state: AppState) -> None:
    submission = edits.submit(app_state, PendingDryRun(CALLER, EditRequest.model_validate(BODY), timedelta(60)))
    assert not submission.replayed
    with app_state.database.read() as session:
        (job,) = session.query(Job).all()
    assert (job.kind, job.status) == ("plan", "queued")
    assert actions(app_state) == []


@pytest.mark.parametrize("path", ["/v1/edits", "/v1/edits:validate"])
def test_conflict_with_the_ledger_is_rejected(client: TestClient, app_state: AppState, path: str) -> None:
    publish(client, app_state)
    body: dict[str, Any] = {"model": "tiny", "removals": [{"concept": "cat", "replacement": "fox"}], "ledger": True}
    response = client.post(path, json=body)
    assert (response.status_code, response.json()["code"]) == (409, LedgerConflict.code)
    assert response.json()["conflicts"][0]["right"]["name"] == "fox"


def test_only_a_collision_of_keys_is_reported_as_one(app_state: AppState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another violated constraint is an internal error."""
    monkeypatch.setattr("service.store.jobs.prefixed_id", lambda prefix, now: "edit_same")
    pending = [PendingEdit(CALLER, None, EditRequest.model_validate(BODY)) for _ in range(2)]
    edits.submit(app_state, pending[0])
    with pytest.raises(IntegrityError):
        edits.submit(app_state, pending[1])
