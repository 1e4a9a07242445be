"""Fleets on web pages: the form, its plan, the list, and the page of a fleet."""

import re

import pytest
from fastapi.testclient import TestClient

from service.store import fleets
from tests.contract.conftest import SampleService
from tests.service.web.conftest import SignedIn

FORM = {"models": "tiny", "concept": "heron", "kind": "object", "replacement": "stork", "policy": "strict", "key": "k"}
MARKUP = "<script>alert(1)</script>"


@pytest.fixture
def client(signed_in: SignedIn) -> TestClient:
    return signed_in()


def test_form_shows_the_models_and_creates_one_fleet(sample: SampleService, client: TestClient) -> None:
    page = client.post("/fleets/plan", data=FORM).text
    assert "1 model, 1 edit to solve" in page
    assert 'value="heron"' in page
    first, again = (client.post("/fleets", data=FORM).headers["location"] for _ in range(2))
    assert first == again
    with sample.app_state.database.read() as session:
        fleet = fleets.get(session, "one", first.removeprefix("/fleets/"))
        assert fleet
        (removal,) = fleet.request["removals"]
        assert (removal["concept"], removal["replacement"]) == ("heron", "stork")
        assert fleet.request["validation"]["policy"] == "strict"
    page = client.get(first).text
    assert ">planned<" in page
    assert 'hx-trigger="every 2s"' in page
    assert first in client.get("/fleets").text
    client.post(f"{first}/cancel")
    assert ">canceled<" in client.get(first).text


def test_statement_is_saved(sample: SampleService, client: TestClient) -> None:
    url = f"/fleets/{sample.owned['fleet_id']}"
    assert f"{url}/statement" in client.get(url).text
    reply = client.get(f"{url}/statement")
    assert reply.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"models": ""}, "Give labels, a family, an encoder or models"),
        ({"models": "none"}, "None is not registered"),
        ({"concept": ""}, "removals[0].concept"),
        ({"follow": "true"}, "Select by labels, family or encoder"),
        ({"encoder": "x"}, "encoder"),
        ({"models": "", "labels": "none"}, "selects 0 models"),
        ({"models": "", "labels": MARKUP}, "labels[0]"),
    ],
)
def test_wrong_form_is_refused_with_the_field(client: TestClient, wrong: dict[str, str], message: str) -> None:
    for path in ("/fleets", "/fleets/plan"):
        reply = client.post(path, data=FORM | wrong)
        assert reply.status_code == 422
        assert message.casefold() in re.sub(r"\s+", " ", reply.text).casefold()
        assert MARKUP not in reply.text
