"""The page of a fleet in a browser, with models in every state, ended and running."""

from collections.abc import Iterator
from functools import partial

import pytest
from playwright.sync_api import Browser, Page, expect

from api_schemas.cases_requests import CaseRequest, DecisionBody
from api_schemas.edits import Removal, Validation
from api_schemas.fleets import Fleet, FleetRequest, FleetSelector
from api_schemas.registrations import ModelRegistration
from tests.fakes.desk import NOTICE, WITHHOLD
from tests.fakes.model import WEIGHTS, write_model
from tests.fakes.stack import Stack, running_stack, wait_until
from tests.ui.conftest import NewPage
from tests.ui.page_checks import check_everywhere

ENCODERS = {
    "anime-v3": b"A",
    "anime-v3-withheld": b"A",
    "anime-v3-with-a-long-name-that-somebody-gave-it-on-a-friday": b"A",
    "photo-v1": b"B",
    "photo-v2": b"B",
    "sketch-v1": b"C",
}
"""Models by the content of their text encoder."""
WISHES = {"carry": "refuse photo-v2", "refuse": "edit", "refuse_model": "sketch-v1"}
PAIR = FleetSelector(labels=["production"], models=["anime-v3", "photo-v1"])
CONCEPTS = ("fox", "the mascot of a company with a long name", "owl", "elk")


@pytest.fixture(scope="module")
def stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("fleets")
    with running_stack(folder / "data", EXPUNGE_CASE_UNDO_SECONDS="0.1") as stack:
        for name, content in ENCODERS.items():
            (write_model(folder / "models" / name) / WEIGHTS).write_bytes(content * 7000)
            label = ModelRegistration(id=name, path=str(folder / "models" / name), labels=["production"])
            stack.client.models.register(label)
        wait_until(lambda: all(stack.client.models.get(name).digest for name in ENCODERS), 90)
        yield stack


@pytest.fixture(scope="module")
def fleets(stack: Stack) -> dict[str, Fleet]:
    """A fleet that has ended in every possible way, one with a revoked edit, one that is running, and one that was canceled."""
    client, selector = stack.client, FleetSelector(labels=["production"])
    ended = client.fleets.create(
        FleetRequest(selector=selector, removals=[Removal(concept=name) for name in CONCEPTS], metadata=WISHES)
    )
    wait_until(lambda: client.fleets.get(ended.id).finished_at, 120)
    revoked = client.fleets.create(
        FleetRequest(
            selector=FleetSelector(models=["anime-v3", "sketch-v1"]),
            removals=[Removal(concept="goose")],
            validation=Validation(enabled=False),
        )
    )
    wait_until(lambda: client.fleets.get(revoked.id).finished_at, 60)
    client.edits.revoke(next(one.edit or "" for one in client.fleets.targets(revoked.id) if one.model == "anime-v3"))
    wait_until(lambda: client.fleets.get(revoked.id).counts.revoked and client.fleets.get(revoked.id).finished_at, 60)
    withhold(stack, "anime-v3-withheld")
    slow = {"slow": "600"}
    running = client.fleets.create(FleetRequest(selector=selector, removals=[Removal(concept="bear")], metadata=slow))
    wait_until(lambda: sum(one.status == "running" for one in client.edits.list()), 30)
    canceled = client.fleets.create(FleetRequest(selector=PAIR, removals=[Removal(concept="crow")]))
    client.fleets.cancel(canceled.id)
    return {"ended": ended, "revoked": revoked, "running": running, "canceled": canceled}


def withhold(stack: Stack, model: str) -> None:
    body = {"bases": ["us-dmca"], "models": [model], "notice": NOTICE}
    case = stack.client.cases.create(CaseRequest.model_validate(body, strict=False))
    stack.client.cases.decide(case, DecisionBody.model_validate(WITHHOLD))
    wait_until(lambda: stack.client.cases.get(case.id).targets[0].state == "withheld", 30)


@pytest.mark.parametrize("name", ["ended", "revoked", "running", "canceled"])
def test_page_of_a_fleet_is_right_everywhere(new_page: NewPage, fleets: dict[str, Fleet], name: str) -> None:
    def open_page(**options: object) -> Page:
        page = new_page(**options).page
        page.goto(f"/fleets/{fleets[name].id}")
        return page

    check_everywhere(open_page, f"fleet-{name}")


def test_list_of_fleets_is_right_everywhere(new_page: NewPage, fleets: dict[str, Fleet]) -> None:
    def open_page(**options: object) -> Page:
        page = new_page(**options).page
        page.goto("/fleets")
        assert page.locator("tbody tr").count() == len(fleets)
        return page

    check_everywhere(open_page, "fleets-listed")


def test_each_model_says_what_became_of_it(new_page: NewPage, fleets: dict[str, Fleet]) -> None:
    page = new_page().page
    page.goto(f"/fleets/{fleets['ended'].id}")
    row = partial(row_of, page)
    assert row("anime-v3") == "anime-v3 in force solved passed 1"
    assert row("anime-v3-withheld") == "anime-v3-withheld in force withheld carried over from anime-v3 passed 1"
    assert row("photo-v2") == "photo-v2 in force solved passed 1", "the delta did not fit, so it was solved again"
    assert row("sketch-v1") == "sketch-v1 failed The concept is out of reach. Try another. – – –"
    expect(page.get_by_role("heading", level=1)).to_contain_text("and 1 more")
    expect(page.get_by_role("definition").first).to_contain_text("elk")


def test_revoked_and_unvalidated_targets_say_so(new_page: NewPage, fleets: dict[str, Fleet]) -> None:
    page = new_page().page
    page.goto(f"/fleets/{fleets['revoked'].id}")
    assert row_of(page, "anime-v3") == "anime-v3 revoked revocation solved not validated 2"
    assert row_of(page, "sketch-v1") == "sketch-v1 in force solved not validated 1"
    assert "1 of 2 models in force, 1 revoked" in page.locator(".lead").inner_text()


def row_of(page: Page, model: str) -> str:
    """Return the text of a model's row."""
    named = page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=model, exact=True))
    return " ".join(named.inner_text().split())


def test_running_fleet_is_canceled_without_javascript(new_page: NewPage, fleets: dict[str, Fleet]) -> None:
    page = new_page(java_script_enabled=False).page
    page.goto(f"/fleets/{fleets['running'].id}")
    assert page.locator("noscript meta[http-equiv=refresh]").count() == 1
    expect(page.get_by_role("row").filter(has_text="photo-v1")).to_contain_text("to be solved")
    page.get_by_role("button", name="Cancel this fleet").click()
    expect(page.get_by_role("row").filter(has_text="photo-v2")).to_contain_text("canceled")
