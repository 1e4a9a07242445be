"""Operators create and revoke API keys, pause queues, watch workers and retry jobs, over the API."""

from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from api_schemas.access import SCOPES, TENANT_SCOPES
from api_schemas.calibrations import CalibrationTask
from api_schemas.edits import EditRequest, Removal
from api_schemas.fleets import FleetTask
from api_schemas.jobs import JobError, JobKind
from api_schemas.previews import PreviewTask
from service.core.app_state import AppState
from service.store import claims, fair_queue, jobs, outbox, workers
from service.store.jobs import JobRequest, NewJob
from service.store.orm import AuditLine, Fleet, Job, OutboxMessage
from tests.fakes.clock import FakeClock

LEASE = timedelta(seconds=30)
REQUEST = EditRequest(model="tiny", removals=[Removal(concept="quokka")])


@pytest.fixture
def failed(app_state: AppState) -> "Fail":
    return Fail(app_state)


class Fail:
    """Creates jobs of tenant `other` that have failed."""

    def __init__(self, app_state: AppState) -> None:
        self._app_state = app_state

    def __call__(self, request: JobRequest = REQUEST, kind: JobKind = "removal", revokes: str | None = None) -> str:
        now = self._app_state.clock()
        with self._app_state.database.write() as session:
            job = jobs.create(session, NewJob(request, "key", "other", kind, revokes), now=now)
            claim = claims.claim(session, job.id, owner="w", lease=LEASE, now=now)
            assert claim
            claims.fail(session, claim, JobError(code="crashed", message="quokka crashed"), now=now)
            return job.id


def audit_actions(app_state: AppState) -> list[tuple[str, str]]:
    with app_state.database.read() as session:
        return [(line.action, line.tenant) for line in session.scalars(select(AuditLine).order_by(AuditLine.seq))]


def take(app_state: AppState, job_id: str) -> claims.Claim | None:
    """Claim as a worker does that gets the message of a job."""
    with app_state.database.write() as session:
        return fair_queue.claim_next(session, job_id, owner="w", lease=LEASE, now=app_state.clock())


def test_created_key_works_and_is_shown_once(client: TestClient, app_state: AppState) -> None:
    sent = {"tenant": "desk", "scopes": ["metrics:read", "edits:read"], "name": "a desk", "days": 2}
    created = client.post("/v1/api_keys", json=sent)
    assert created.status_code == 201
    key = created.json()
    assert key["scopes"] == ["edits:read", "metrics:read"]
    assert client.get("/v1/edits", headers={"Authorization": f"Bearer {key['key']}"}).status_code == 200
    listed = client.get("/v1/api_keys")
    assert key["key"] not in listed.text
    assert [one["name"] for one in listed.json()["data"] if one["id"] == key["id"]] == ["a desk"]
    assert audit_actions(app_state)[-1] == ("api_key.create", "desk")


def test_key_has_no_operator_scopes_unless_they_are_named(client: TestClient) -> None:
    assert client.post("/v1/api_keys", json={}).json()["scopes"] == list(TENANT_SCOPES)
    assert client.post("/v1/api_keys", json={"scopes": list(SCOPES)}).json()["scopes"] == list(SCOPES)


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({"tenant": "Desk"}, "tenant"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["edits:delete"]}, "scopes[0]"),
        ({"days": 0}, "days"),
        ({"key": "expunge_mine"}, "key"),
    ],
)
def test_wrong_key_is_refused_with_the_field(client: TestClient, sent: dict[str, Any], field: str) -> None:
    reply = client.post("/v1/api_keys", json=sent)
    assert reply.status_code == 422
    assert [error["field"] for error in reply.json()["errors"]] == [field]


def test_expired_and_revoked_keys_stop_working(client: TestClient, app_state: AppState, clock: FakeClock) -> None:
    short, long = (client.post("/v1/api_keys", json={"days": days}).json() for days in (1, 3))
    clock.advance(timedelta(days=2).total_seconds())

    def status(key: dict[str, Any]) -> int:
        return client.get("/v1/edits", headers={"Authorization": f"Bearer {key['key']}"}).status_code

    assert (status(short), status(long)) == (401, 200)
    for _ in range(2):
        assert client.post(f"/v1/api_keys/{long['id']}/revoke").json()["revoked_at"]
    clock.advance(2)
    assert status(long) == 401
    assert [action for action, _ in audit_actions(app_state)].count("api_key.revoke") == 1
    assert client.post("/v1/api_keys/000000000000/revoke").status_code == 404


def test_paused_queue_keeps_its_jobs_until_it_is_resumed(
    client: TestClient, app_state: AppState, clock: FakeClock
) -> None:
    job_id = client.post("/v1/edits", json=REQUEST.model_dump(mode="json", exclude_defaults=True)).json()["id"]
    paused = client.post("/v1/queues/edits/pause").json()
    assert (paused["queued"], paused["running"], bool(paused["paused_at"])) == (1, 0, True)
    with app_state.database.write() as session:
        (message,) = outbox.due(session, now=clock())
        outbox.mark_sent(session, message, now=clock())
    assert take(app_state, job_id) is None
    assert [one["paused_by"] is None for one in client.get("/v1/queues").json()["data"]] == [False, True]
    client.post("/v1/queues/edits/pause")
    assert client.post("/v1/queues/edits/resume").json()["paused_at"] is None
    with app_state.database.read() as session:
        assert [one.job_id for one in outbox.due(session, now=clock())] == [job_id]
    assert take(app_state, job_id)
    assert [action for action, _ in audit_actions(app_state)][-2:] == ["queue.pause", "queue.resume"]


def test_pause_of_edits_leaves_dry_runs_and_running_jobs_alone(client: TestClient, app_state: AppState) -> None:
    now = app_state.clock()
    with app_state.database.write() as session:
        running, plan = (
            jobs.create(session, NewJob(REQUEST, "key", "o", kind), now=now) for kind in ("removal", "plan")
        )
    assert take(app_state, running.id)
    client.post("/v1/queues/edits/pause")
    assert take(app_state, running.id), "the worker that died while it ran the job resumes it"
    assert take(app_state, plan.id)


def test_retry_of_a_delayed_message_is_not_hurried_by_a_resume(client: TestClient, app_state: AppState) -> None:
    now = app_state.clock()
    with app_state.database.write() as session:
        job = jobs.create(session, NewJob(REQUEST, "key", "o"), now=now)
        outbox.enqueue(session, job.id, now=now + LEASE)
    client.post("/v1/queues/edits/pause")
    client.post("/v1/queues/edits/resume")
    with app_state.database.read() as session:
        assert session.get_one(OutboxMessage, job.id).due_at == now + LEASE


def test_unknown_queue_is_refused(client: TestClient) -> None:
    assert client.post("/v1/queues/quick/pause").status_code == 422


def test_workers_have_the_state_that_their_reports_show(
    client: TestClient, app_state: AppState, clock: FakeClock
) -> None:
    def report(name: str) -> None:
        with app_state.database.write() as session:
            workers.report(session, name, queues=["edits"], version="1", started_at=clock(), now=clock())

    for name in ("ancient", "gone"):
        report(name)
        clock.advance(workers.LISTED_FOR.total_seconds() - 90)
    for name in ("busy", "idle", "ended"):
        report(name)
    with app_state.database.write() as session:
        workers.record_stop(session, "ended", now=clock())
        job = jobs.create(session, NewJob(REQUEST, "key", "o"), now=clock())
        claims.claim(session, job.id, owner="busy", lease=LEASE, now=clock())
    found = {one["name"]: (one["state"], one["job"]) for one in client.get("/v1/workers").json()["data"]}
    assert found == {
        "gone": ("lost", None),
        "busy": ("busy", job.id),
        "idle": ("idle", None),
        "ended": ("stopped", None),
    }
    clock.advance(workers.LOST_AFTER.total_seconds() + 1)
    report("ended")
    found = {one["name"]: one["state"] for one in client.get("/v1/workers").json()["data"]}
    assert (found["busy"], found["ended"]) == ("lost", "idle")


def test_jobs_of_all_tenants_are_listed_without_what_they_name(
    client: TestClient, failed: Fail, clock: FakeClock
) -> None:
    first = failed()
    clock.advance(1)
    second = failed(CalibrationTask(model="tiny"), "calibration")
    page = client.get("/v1/jobs", params={"status": ["failed", "expired"], "limit": 1})
    assert "quokka" not in page.text
    (job,) = page.json()["data"]
    assert (job["id"], job["tenant"], job["error_code"], job["retryable"]) == (second, "other", "crashed", True)
    rest = client.get("/v1/jobs", params={"status": "failed", "after": page.json()["next_cursor"]}).json()
    assert [one["id"] for one in rest["data"]] == [first]
    assert client.get("/v1/jobs", params={"kind": "preview"}).json()["data"] == []


@pytest.mark.parametrize(("request_", "kind"), [(REQUEST, "removal"), (CalibrationTask(model="tiny"), "calibration")])
def test_failed_job_is_retried_for_its_tenant(
    client: TestClient, app_state: AppState, failed: Fail, request_: JobRequest, kind: JobKind
) -> None:
    first = failed(request_, kind)
    reply = client.post(f"/v1/jobs/{first}/retry")
    assert reply.status_code == 202
    with app_state.database.read() as session:
        job, before = session.get_one(Job, reply.json()["id"]), session.get_one(Job, first)
        assert (job.tenant, job.kind, job.status, job.request) == ("other", kind, "queued", before.request)
        assert before.status == "failed"
    assert audit_actions(app_state)[-1] == ("job.retry", "other")


def test_retry_is_idempotent_under_its_key(client: TestClient, failed: Fail) -> None:
    first = failed()
    replies = [client.post(f"/v1/jobs/{first}/retry", headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert replies[0].json()["id"] == replies[1].json()["id"]


def test_retried_statement_takes_the_place_of_the_first_one(
    client: TestClient, app_state: AppState, failed: Fail
) -> None:
    first = failed(FleetTask(fleet="fleet_1"), "statement")
    now = app_state.clock()
    with app_state.database.write() as session:
        columns = {"request": {}, "request_digest": "", "created_at": now, "finished_at": now}
        session.add(Fleet(id="fleet_1", tenant="other", api_key_id="key", statement_job_id=first, **columns))
    again = client.post(f"/v1/jobs/{first}/retry").json()["id"]
    with app_state.database.read() as session:
        fleet = session.get_one(Fleet, "fleet_1")
        assert (fleet.statement_job_id, fleet.finished_at) == (again, None)
    refused = client.post(f"/v1/jobs/{first}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_retryable")


def test_retried_registration_is_the_one_that_the_model_waits_for(
    client: TestClient, app_state: AppState, clock: FakeClock
) -> None:
    client.post("/v1/models", json={"id": "second", "path": "tiny"})
    with app_state.database.write() as session:
        first = session.scalars(select(Job).where(Job.kind == "registration")).one()
        claim = claims.claim(session, first.id, owner="w", lease=LEASE, now=clock())
        assert claim
        claims.fail(session, claim, JobError(code="crashed", message=""), now=clock())
    app_state.registry.forget("second")
    assert client.get("/v1/models/second").json()["status"] == "refused"
    assert client.post(f"/v1/jobs/{first.id}/retry").status_code == 202
    assert client.get("/v1/models/second").json()["status"] == "registering"


def test_job_without_need_or_hope_is_not_retried(client: TestClient, app_state: AppState, failed: Fail) -> None:
    preview = PreviewTask(model="tiny", edit="edit_1", delta_sha256="0" * 64, delta_size=1, prompt="a fox")
    with app_state.database.write() as session:
        queued = jobs.create(session, NewJob(REQUEST, "key", "o"), now=app_state.clock())
    for job_id in (failed(preview, "preview"), queued.id):
        reply = client.post(f"/v1/jobs/{job_id}/retry")
        assert (reply.status_code, reply.json()["code"]) == (409, "not_retryable")
    assert client.post("/v1/jobs/edit_none/retry").status_code == 404
