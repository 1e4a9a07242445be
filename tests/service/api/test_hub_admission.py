"""The Hub routes serve no revision that lacks what an admission rule or a case has removed, by any name and on any route."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.api.openapi import iter_routes
from service.core.app_state import AppState
from service.core.caller import Caller
from tests.fakes.clock import FakeClock
from tests.fakes.desk import ERASE, WITHHOLD, Desk
from tests.fakes.model import WEIGHTS
from tests.service.api.conftest import register_model

pytestmark = pytest.mark.usefixtures("base_models")

Settle = Callable[[], None]
RULE: dict[str, Any] = {"selector": {"labels": ["production"]}, "removals": [{"concept": "fox"}], "follow": True}


@pytest.fixture
def base_models(app_state: AppState, tmp_path: Path, settle: Settle) -> None:
    """`first` is in the fleet from the beginning; `late` is labelled later."""
    register_model(app_state, tmp_path, "first", b"A" * 7000, ["production"])
    register_model(app_state, tmp_path, "late", b"A" * 7000, [])
    settle()


@dataclass(frozen=True)
class Hub:
    """A client of the Hub routes."""

    client: TestClient

    def commits(self, repo: str) -> list[str]:
        """Return the commit ids of a repository, newest first."""
        reply = self.client.get(f"/hf/api/models/expunge/{repo}/commits/main")
        assert reply.status_code == 200, reply.text
        return [commit["id"] for commit in reply.json()]

    def statuses(self, repo: str, revision: str) -> set[int]:
        """Return the statuses with which the routes that read a revision answer: all of them, from the route table."""
        names = {"namespace": "expunge", "repo": repo, "revision": revision, "folder": "text_encoder", "name": WEIGHTS}
        routes = [route for route in iter_routes(self.client.app) if route.path.startswith("/hf/")]  # type: ignore[arg-type]
        calls = {(one, route.path) for route in routes if "{revision}" in route.path for one in route.methods}
        assert len(calls) >= 7, "so that the test means something"
        found = set()
        for method, path in calls:
            url = path.replace(":path", "").format(**names)
            body = {"paths": [WEIGHTS]} if method == "POST" else None
            found.add(self.client.request(method, url, json=body).status_code)
        return found


@pytest.fixture
def hub(client: TestClient) -> Hub:
    return Hub(client)


@pytest.fixture
def desk(app_state: AppState, clock: FakeClock) -> Desk:
    agent, reviewer = (Caller(name, "default", frozenset({"cases:operate"})) for name in ("agent", "reviewer"))
    return Desk(app_state, clock, agent, reviewer)


def edit(client: TestClient, model: str, concept: str, *, ledger: bool = True) -> str:
    body = {"model": model, "removals": [{"concept": concept}], "ledger": ledger}
    reply = client.post("/v1/edits", json=body)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["id"])


def follow(client: TestClient, settle: Settle) -> Any:
    reply = client.post("/v1/fleets", json=RULE)
    assert reply.status_code == 202, reply.text
    settle()
    return reply.json()


def test_commits_from_before_the_admission_are_not_served(client: TestClient, hub: Hub, settle: Settle) -> None:
    edits = [edit(client, "late", "owl"), edit(client, "late", "elk", ledger=False)]
    settle()
    fleet = follow(client, settle)
    earlier = hub.commits("late")
    assert len(earlier) == 2
    assert all(hub.statuses("late", name) == {200} for name in (*earlier, "1"))
    assert all(hub.statuses(name, "main") == {200} for name in edits)
    client.patch("/v1/models/late", json={"labels": ["production"]})
    assert all(hub.statuses("late", name) == {404} for name in (*earlier, "1", "main")), "in quarantine"
    settle()
    (admitted,) = hub.commits("late")
    assert admitted not in earlier
    assert all(hub.statuses("late", name) == {200} for name in (admitted, "2", "main"))
    assert all(hub.statuses("late", name) == {404} for name in (*earlier, "1"))
    assert all(hub.statuses(name, "main") == {404} for name in edits)
    refs = client.get("/hf/api/models/expunge/late/refs").json()
    assert [tag["name"] for tag in refs["tags"]] == ["2"]
    client.post(f"{fleet['urls']['self']}/cancel")
    assert hub.commits("late") == [admitted, *earlier]
    assert hub.statuses("late", earlier[-1]) == {200}


def test_unedited_model_of_the_fleet_itself_is_not_served(client: TestClient, hub: Hub, settle: Settle) -> None:
    (base,) = hub.commits("first")
    fleet = follow(client, settle)
    assert hub.statuses("first", base) == {404}
    later = edit(client, "first", "owl")
    settle()
    assert len(hub.commits("first")) == 2
    assert hub.statuses(later, "main") == {200}, "it has the fleet's removal too"
    (target,) = client.get(fleet["urls"]["targets"]).json()["data"]
    assert hub.statuses(target["edit"], "main") == {200}
    client.post(f"/v1/edits/{target['edit']}/revoke")
    settle()
    assert len(hub.commits("first")) == 3, "a revocation is a decision of its own"
    assert hub.statuses("first", base) == {404}


def test_commits_that_were_withheld_are_not_served_once_the_edit_is_in_force(hub: Hub, desk: Desk) -> None:
    (base,) = hub.commits("tiny")
    case = desk.apply(desk.open(), ERASE)
    desk.apply(case, WITHHOLD)
    assert hub.statuses("tiny", base) == {451}
    desk.end_edit(case.targets[0].edit)
    desk.sweep()
    (served,) = hub.commits("tiny")
    assert hub.statuses("tiny", base) == {404}
    assert hub.statuses(case.targets[0].edit or "", "main") == {200}
    desk.restore(case)
    assert hub.statuses("tiny", base) == {404}, "the revocation has not ended"
    desk.end_edit(desk.read(case.id).targets[0].revocation)
    desk.sweep()
    assert hub.commits("tiny")[1:] == [served, base]
    assert hub.statuses("tiny", base) == {200}
