"""The pages of takedown cases: queue, notice, decision, statement, counter-notice. They work as plain forms."""

import re
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.access import SCOPES
from api_schemas.cases import Case
from service.core.caller import Caller
from service.web.case_views import due_badge
from tests.contract.conftest import SampleService
from tests.fakes.desk import CANARIES, ERASE, Desk
from tests.service.web.conftest import SignedIn

DECISION = {
    "action": "erase",
    "template": "protected-work",
    "ground": "17 USC 512(c)",
    **{f"slot_{name}": text for name, text in ERASE["slots"].items()},
}
FORM = {
    "basis": "us-dmca",
    "model": "tiny",
    "notifier_name": CANARIES[0],
    "notifier_email": CANARIES[1],
    "signature": CANARIES[0],
    "concept": "<b>zyx</b>",
    "allegation": CANARIES[3],
    "locations": "https://hub.example/tiny",
    "statement": ["good_faith", "accuracy", "perjury"],
}


@pytest.fixture
def desk(sample: SampleService) -> Desk:
    agent, reviewer = (Caller(name, "one", frozenset(SCOPES)) for name in ("agent", "reviewer"))
    clock: Any = sample.app_state.clock
    return Desk(sample.app_state, clock, agent, reviewer)


def create(browser: TestClient, **changes: Any) -> str:
    reply = browser.post("/cases/new", data=FORM | changes)
    assert reply.status_code == 303, reply.text
    return reply.headers["location"]


def fields(page: str) -> dict[str, str]:
    """Return the hidden fields of a page."""
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page))


def test_notice_becomes_a_case_whose_page_has_no_personal_data(signed_in: SignedIn) -> None:
    browser = signed_in()
    path = create(browser)
    page = browser.get(path)
    assert page.status_code == 200
    assert "5 business days, us-dmca" in page.text
    assert [canary for canary in (*CANARIES, "zyx") if canary in page.text] == []
    notice = browser.get(f"{path}/notice")
    assert notice.headers["cache-control"] == "no-store"
    assert "&lt;b&gt;zyx&lt;/b&gt;" in notice.text
    assert "<strong>notice read</strong>" in browser.get(path).text


def test_refused_notice_keeps_what_was_entered(signed_in: SignedIn) -> None:
    reply = signed_in().post("/cases/new", data=FORM | {"basis": "", "received_at": "2030-01-01T00:00"})
    assert reply.status_code == 422
    assert CANARIES[3] in reply.text
    assert "<strong>bases</strong>" in reply.text


def test_incomplete_notice_says_what_is_missing(signed_in: SignedIn) -> None:
    browser = signed_in()
    path = create(browser, signature="", statement="good_faith")
    page = browser.get(path).text
    assert "Missing: signature, declaration of accuracy, declaration under penalty of perjury." in page
    form = browser.get(f"{path}/notice").text
    assert f'value="{CANARIES[0]}"' in form
    assert browser.post(f"{path}/notice", data=FORM | {"version": fields(form)["version"]}).status_code == 303
    assert "5 business days, us-dmca" in browser.get(path).text


def test_decision_with_a_template_without_javascript_and_undo(signed_in: SignedIn) -> None:
    browser = signed_in()
    path = create(browser)
    form = browser.get(f"{path}?template=protected-work").text
    assert 'id="slot_work_count"' in form
    assert "{work_count}" not in form
    assert "[work count]" in form
    decided = browser.post(f"{path}/decide", data=DECISION | {"version": fields(form)["version"]})
    assert decided.status_code == 303
    page = browser.get(path).text
    assert "It takes effect at" in page
    assert browser.post(f"{path}/undo", data={"version": fields(page)["version"]}).status_code == 303
    assert "Decision: erase" not in browser.get(path).text


def test_stale_form_is_answered_with_what_has_changed(signed_in: SignedIn) -> None:
    browser = signed_in()
    path = create(browser)
    version = fields(browser.get(f"{path}?template=protected-work").text)["version"]
    assert browser.post(f"{path}/decide", data=DECISION | {"version": version}).status_code == 303
    reply = browser.post(f"{path}/undo", data={"version": version})
    assert reply.status_code == 409
    assert "decided, now decided" in reply.text
    assert 'role="alert"' in reply.text


def test_decide_and_next_loads_the_next_case(signed_in: SignedIn) -> None:
    browser = signed_in()
    first, _ = create(browser, basis="us-tida"), create(browser, basis="us-tida")
    version = fields(browser.get(f"{first}?template=protected-work").text)["version"]
    reply = browser.post(f"{first}/decide", data=DECISION | {"version": version, "then": "next"})
    assert reply.status_code == 303
    assert reply.headers["location"].startswith("/cases/case_")
    assert not reply.headers["location"].startswith(first)


def test_bulk_is_previewed_and_confirmed_by_count(signed_in: SignedIn, desk: Desk) -> None:
    browser = signed_in()
    chosen: list[Case] = [desk.open(), desk.open()]
    values = [f"{case.id}:{case.version}" for case in chosen]
    first = browser.post("/cases/bulk", data={"case": values})
    assert "Decide 2 cases" in first.text
    body = {"case": values, "template": "unfounded", "action": "refuse", "ground": "terms"}
    assert 'id="slot_finding"' in browser.post("/cases/bulk", data={"case": values, "template": "unfounded"}).text
    body |= {"slot_finding": "the use is permitted"}
    preview = browser.post("/cases/bulk", data=body)
    assert "<strong>2</strong> of 2 cases" in preview.text
    assert desk.read(chosen[0].id).state == "open"
    assert browser.post("/cases/bulk", data=body | {"count": "1"}).status_code == 409
    assert browser.post("/cases/bulk", data=body | {"count": "2"}).status_code == 303
    assert {desk.read(case.id).state for case in chosen} == {"decided"}


def test_statement_and_counter_notice(signed_in: SignedIn, desk: Desk) -> None:
    browser, case = signed_in(), desk.apply(desk.open(), ERASE | {"removal": {"concept": "quagga"}})
    desk.end_edit(case.targets[0].edit)
    desk.sweep()
    page = browser.get(f"/cases/{case.id}").text
    assert "Statement of reasons" in page
    assert "the concept was removed" in browser.get(f"/cases/{case.id}/statement").text
    for form in ("pdf", "json", "dsa"):
        assert browser.get(f"/cases/{case.id}/statement.{form}").status_code == 200
    body = {"version": fields(page)["version"], "explanation": "a parody"}
    assert browser.post(f"/cases/{case.id}/counter-notice", data=body).status_code == 303
    page = browser.get(f"/cases/{case.id}").text
    assert "Restore not before" in page
    refused = browser.post(f"/cases/{case.id}/restore", data={"version": fields(page)["version"], "reason": "now"})
    assert refused.status_code == 409
    assert "Nothing may be restored before" in refused.text


def test_reader_has_no_forms_and_no_notice(signed_in: SignedIn, desk: Desk) -> None:
    reader, case = signed_in("one", ("cases:read",)), desk.open()
    page = reader.get(f"/cases/{case.id}").text
    assert "sealed" in page
    assert '<form class="stack" method="post"' not in page
    assert reader.get(f"/cases/{case.id}/notice").status_code == 403


def test_queue_filters_by_url(signed_in: SignedIn, desk: Desk) -> None:
    browser, case = signed_in(), desk.open("eu-gdpr")
    assert case.reference in browser.get("/cases?basis=eu-gdpr").text
    assert case.reference not in browser.get("/cases?basis=order").text
    assert "No case matches the filter" in browser.get("/cases?state=void").text


def test_time_that_is_left_in_words_and_shape(desk: Desk) -> None:
    case = desk.open("us-tida")
    assert case.due_at
    words = []
    for _ in range(3):
        badge = due_badge(case.due_at, desk.clock())
        words.append((badge.word, badge.shape))
        desk.clock.advance(30 * 3600)
    assert words == [("due in 2 days", ""), ("due in 18 h 0 min", "warning"), ("overdue by 12 h 0 min", "failed")]
