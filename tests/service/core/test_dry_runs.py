"""Dry runs: the queue is bounded, and a dry run that nobody waits for is canceled."""

import asyncio
import time
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest
from service.core import dry_runs, edits
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.edits import PendingDryRun, Submission
from service.errors import PlanQueueFull, PlanTimeout, TooManyPlans
from service.store import claims, lease_reaper
from service.store.orm import Job
from tests.service.core.test_edits import BODY

REQUEST = EditRequest.model_validate(BODY)


def submit(app_state: AppState, tenant: str) -> Submission | Exception:
    caller = Caller("key", tenant, frozenset())
    (outcome,) = edits.submit_all(app_state, [PendingDryRun(caller, REQUEST, timedelta(seconds=70))])
    return outcome


def change_settings(app_state: AppState, **values: float) -> None:
    object.__setattr__(app_state, "settings", app_state.settings.model_copy(update=values))


def all_jobs(app_state: AppState) -> list[Job]:
    with app_state.database.read() as session:
        return session.query(Job).order_by(Job.id).all()


def test_tenant_is_refused_at_its_limit_and_others_are_not(app_state: AppState) -> None:
    change_settings(app_state, max_dry_runs_per_tenant=2)
    outcomes = [submit(app_state, tenant) for tenant in ("many", "many", "few", "many", "few")]
    refused = outcomes.pop(3)
    assert isinstance(refused, TooManyPlans)
    assert "3 are queued or running in total" in refused.message
    assert refused.headers["Retry-After"] == "5"
    assert all(isinstance(outcome, Submission) for outcome in outcomes)


def test_full_queue_is_refused_at_once(client: TestClient, app_state: AppState) -> None:
    change_settings(app_state, max_dry_runs=3)
    for tenant in ("one", "two", "three"):
        submit(app_state, tenant)
    started = time.monotonic()
    response = client.post("/v1/edits:validate", json=BODY)
    assert time.monotonic() - started < 1
    assert (response.status_code, response.json()["code"]) == (503, PlanQueueFull.code)
    assert response.json()["detail"].startswith("3 dry runs are queued or running")
    assert response.headers["Retry-After"] == "5"


def test_retry_after_is_the_time_of_recent_dry_runs(app_state: AppState) -> None:
    change_settings(app_state, max_dry_runs=1)
    submit(app_state, "one")
    (job,) = all_jobs(app_state)
    with app_state.database.write() as session:
        claim = claims.claim(session, job.id, owner="w", lease=timedelta(seconds=30), now=app_state.clock())
        assert claim
        claims.succeed(session, claim, [], "0" * 64, None, now=app_state.clock() + timedelta(seconds=11.5))
    assert isinstance(submit(app_state, "one"), Submission)
    refused = submit(app_state, "two")
    assert isinstance(refused, PlanQueueFull)
    assert refused.headers["Retry-After"] == "12"


def test_dry_runs_do_not_count_towards_the_quota_of_jobs(client: TestClient, app_state: AppState) -> None:
    change_settings(app_state, max_unfinished_jobs=1)
    submit(app_state, "default")
    assert client.post("/v1/edits", json=BODY).status_code == 202
    assert client.post("/v1/edits", json=BODY).json()["code"] == "too_many_jobs"


def test_dry_run_is_canceled_when_its_client_disconnects(app_state: AppState) -> None:
    async def is_disconnected() -> bool:
        return True

    with pytest.raises(PlanTimeout):
        asyncio.run(dry_runs.run_dry_run(app_state, REQUEST, Caller("key", "one", frozenset()), is_disconnected))
    assert [job.status for job in all_jobs(app_state)] == ["canceled"]


def test_dry_run_of_a_dead_api_process_expires(app_state: AppState) -> None:
    submit(app_state, "one")
    with app_state.database.write() as session:
        lease_reaper.reap(session, now=app_state.clock() + timedelta(seconds=71))
    (job,) = all_jobs(app_state)
    assert job.status == "expired"
