"""Images of a running validation over the API."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from api_schemas.edits import EditRequest, Removal
from service.core.app_state import AppState
from service.store import claims, jobs
from service.store.claims import Claim
from service.store.jobs import NewJob
from service.store.samples import NewSample


@pytest.fixture
def running(app_state: AppState) -> Claim:
    request, now = EditRequest(model="tiny", removals=[Removal(concept="fox")]), app_state.clock()
    with app_state.database.write() as session:
        job_id = jobs.create(session, NewJob(request, "key"), now=now).id
        claim = claims.claim(session, job_id, owner="w", lease=timedelta(seconds=30), now=now)
        assert claim
        new = [NewSample("a fox", 3, b"first", None), NewSample("a fox", 4, b"second", b"edited")]
        assert claims.report_samples(session, claim, new, phase="validate", progress=0.5, now=now)
    return claim


def test_newest_samples_are_listed_first(client: TestClient, running: Claim) -> None:
    path = f"/v1/edits/{running.job_id}/samples"
    second, first = client.get(path).json()["data"]
    assert (second["number"], second["prompt"], second["seed"]) == (2, "a fox", 4)
    assert (second["before"], second["after"]) == (f"{path}/2/before", f"{path}/2/after")
    assert (first["number"], first["after"]) == (1, None)


def test_image_is_webp_and_in_no_cache(client: TestClient, running: Claim) -> None:
    second, first = client.get(f"/v1/edits/{running.job_id}/samples").json()["data"]
    reply = client.get(second["after"])
    assert (reply.content, reply.headers["content-type"]) == (b"edited", "image/webp")
    assert reply.headers["cache-control"] == "private, no-store"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert client.get(first["before"]).content == b"first"


@pytest.mark.parametrize("path", ["1/after", "9/before", "2/middle", "0/before", "x/after"])
def test_image_that_is_not_there(client: TestClient, running: Claim, path: str) -> None:
    assert client.get(f"/v1/edits/{running.job_id}/samples/{path}").status_code in (404, 422)


def test_samples_are_gone_when_the_job_has_ended(client: TestClient, running: Claim, app_state: AppState) -> None:
    with app_state.database.write() as session:
        assert claims.succeed(session, running, [], None, "passed", now=app_state.clock())
    path = f"/v1/edits/{running.job_id}/samples"
    assert client.get(path).json()["data"] == []
    assert client.get(f"{path}/2/after").json()["code"] == "not_found"
