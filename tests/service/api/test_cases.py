"""Takedown cases over HTTP."""

import io
import json
from typing import Any

import jsonschema
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from pypdf import PdfReader

from api_schemas.cases_statements import DsaStatement
from service.core.app_state import AppState
from service.core.caller import Caller
from tests.fakes.clock import FakeClock
from tests.fakes.desk import CANARIES, ERASE, NOTICE, REFUSE, WITHHOLD, Desk

CASE = {"bases": ["us-dmca"], "notice": NOTICE, "models": ["tiny"]}


@pytest.fixture
def desk(app_state: AppState, clock: FakeClock) -> Desk:
    """The desk of the client's tenant."""
    agent, reviewer = (Caller(name, "default", frozenset({"cases:operate"})) for name in ("agent", "reviewer"))
    return Desk(app_state, clock, agent, reviewer)


def test_case_has_no_personal_data_and_its_reading_is_recorded(client: TestClient) -> None:
    created = client.post("/v1/cases", json=CASE)
    assert created.status_code == 201
    case = created.json()
    assert created.headers["location"] == case["urls"]["self"]
    bodies = [created.text, client.get("/v1/cases").text, client.get(case["urls"]["events"]).text]
    assert [canary for canary in CANARIES for body in bodies if canary in body] == []
    sealed = client.get(case["urls"]["personal_data"])
    assert sealed.headers["cache-control"] == "no-store"
    assert sealed.json()["notice"]["concept"] == CANARIES[2]
    kinds = [event["kind"] for event in client.get(case["urls"]["events"]).json()["data"]]
    assert kinds == ["received", "opened", "read"]
    lines = client.get("/v1/audit_log").json()["data"]
    assert [line["action"] for line in lines] == ["case.received", "case.read"]


def test_repeated_notice_is_one_case(client: TestClient) -> None:
    first, second = (client.post("/v1/cases", json=CASE, headers={"Idempotency-Key": "n-1"}) for _ in range(2))
    assert first.json() == second.json()
    assert [reply.headers["idempotent-replayed"] for reply in (first, second)] == ["false", "true"]
    other = client.post("/v1/cases", json=CASE | {"priority": "high"}, headers={"Idempotency-Key": "n-1"})
    assert other.json()["code"] == "idempotency_key_reused"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bases": ["uk-osa"]}, "bases"),
        ({"bases": ["us-dmca", "us-dmca"]}, "bases"),
        ({"models": ["nothing"]}, "model"),
        ({"received_at": "2030-01-01T00:00:00Z"}, "received_at"),
        ({"received_at": "2026-01-01T00:00:00"}, "received_at"),
        ({"territories": ["Germany"]}, "territories[0]"),
        ({"notice": NOTICE | {"notifier": {"email": "nobody"}}}, "notice.notifier.email"),
        ({"notice": NOTICE | {"allegation": "a\x00b"}}, "notice.allegation"),
    ],
)
def test_malformed_case_is_refused_with_its_field(client: TestClient, change: dict[str, Any], field: str) -> None:
    reply = client.post("/v1/cases", json=CASE | change)
    assert reply.status_code == 422
    assert [error["field"] for error in reply.json()["errors"]] == [field]
    assert client.get("/v1/cases").json()["data"] == []


def test_statement_as_json_page_pdf_and_dsa_form(client: TestClient, desk: Desk) -> None:
    case = desk.in_force()
    url = f"/v1/cases/{case.id}/statement"
    replies = {form: client.get(f"{url}.{form}") for form in ("json", "dsa", "html", "pdf")}
    assert {reply.status_code for reply in replies.values()} == {200}
    statement = client.get(url).json()
    assert replies["json"].json() == statement
    assert DsaStatement.model_validate_json(replies["dsa"].content).puid == statement["puid"]
    assert None not in replies["dsa"].json().values()
    assert "sha256-" in replies["html"].headers["content-security-policy"]
    printed = "".join(page.extract_text() for page in PdfReader(io.BytesIO(replies["pdf"].content)).pages)
    for words in (case.reference, "revision 1", "17 USC 512(c)"):
        assert words in replies["html"].text
        assert words in printed.replace("\n", " ")
    everything = "".join([json.dumps(statement), replies["html"].text, printed])
    assert [canary for canary in CANARIES if canary in everything] == []
    assert client.get(f"{url}.pdf").content == replies["pdf"].content


def test_refusal_has_a_statement_without_a_form(client: TestClient, desk: Desk) -> None:
    case = desk.apply(desk.open(), REFUSE)
    assert "the use is permitted" in client.get(f"/v1/cases/{case.id}/statement.html").text
    assert client.get(f"/v1/cases/{case.id}/statement.dsa").status_code == 404


def test_hub_does_not_serve_a_withheld_model(client: TestClient, desk: Desk) -> None:
    edit = desk.in_force()
    urls = ("/hf/api/models/expunge/tiny", f"/hf/api/models/expunge/{edit.targets[0].edit}")
    assert [client.get(url).status_code for url in urls] == [200, 200]
    case = desk.apply(desk.open(), WITHHOLD)
    for url in urls:
        reply = client.get(url)
        assert (reply.status_code, reply.json()["code"]) == (451, "model_withheld")
        assert reply.headers["x-error-message"] == "Access to this resource is disabled."
    desk.restore(case)
    assert client.get(urls[0]).status_code == 200


def test_weights_of_a_withheld_model_are_not_downloaded(client: TestClient, desk: Desk) -> None:
    edit_id = desk.in_force().targets[0].edit
    base, revision = f"/v1/edits/{edit_id}/artifacts", "/v1/models/tiny/revisions/1/artifacts"
    weights = [
        f"{folder}/{name}" for folder in (base, revision) for name in ("delta.safetensors", "text_encoder.safetensors")
    ]
    others = [base, f"{base}/report.json", f"{revision}/report.json"]
    assert [client.get(url).status_code for url in (*weights, *others)] == [200] * 7
    case = desk.apply(desk.open(), WITHHOLD)
    assert [client.get(url).status_code for url in weights] == [451] * 4
    assert [client.get(url).status_code for url in others] == [200] * 3
    assert client.get(weights[0]).json()["code"] == "model_withheld"
    desk.restore(case)
    assert [client.get(url).status_code for url in weights] == [200] * 4


def test_edit_of_a_case_is_revoked_by_the_case_alone(client: TestClient, desk: Desk) -> None:
    """Otherwise it could be revoked before the time that a counter-notice sets, and the case would still be in force."""
    case = desk.in_force()
    url = f"/v1/edits/{case.targets[0].edit}/revoke"
    for _ in range(2):
        reply = client.post(url)
        assert (reply.status_code, reply.json()["code"]) == (409, "wrong_case_state")
        assert case.reference in reply.json()["detail"]
        desk.counter(case)
    desk.restore(case, override=True)
    assert client.post(url).json()["id"] == desk.read(case.id).targets[0].revocation


def test_edit_of_a_closed_case_is_revoked_as_any_other(client: TestClient, desk: Desk) -> None:
    case = desk.in_force()
    desk.wait(case, 400 * 86_400)
    assert desk.read(case.id).state == "closed"
    assert client.post(f"/v1/edits/{case.targets[0].edit}/revoke").status_code == 202


def test_list_is_due_first_and_pages_without_gaps(client: TestClient, desk: Desk) -> None:
    opened = [desk.open(basis) for basis in ("eu-gdpr", "us-tida", "us-dmca", "us-tida")]
    found, after = [], None
    while True:
        page = client.get("/v1/cases", params={"limit": 1} | ({"after": after} if after else {})).json()
        found += [case["id"] for case in page["data"]]
        after = page["next_cursor"]
        if not page["has_more"]:
            break
    assert found == [case.id for case in sorted(opened, key=lambda case: (case.due_at, case.id))]
    assert [case["bases"] for case in client.get("/v1/cases?basis=us-dmca").json()["data"]] == [["us-dmca"]]
    assert client.get("/v1/cases?state=closed&state=refused").json()["data"] == []
    desk.clock.advance(3 * 86_400)
    assert len(client.get("/v1/cases?overdue=true").json()["data"]) == 2


def test_bulk_decision_is_previewed_and_confirmed_by_its_count(client: TestClient, desk: Desk) -> None:
    first, second = desk.open(), desk.open()
    stale = {"case": second.id, "version": second.version + 1}
    body: dict[str, Any] = {"cases": [{"case": first.id, "version": first.version}, stale], "decision": REFUSE}
    preview = client.post("/v1/cases:decide", json=body).json()
    assert (preview["preview"], preview["count"]) == (True, 1)
    assert [outcome["code"] for outcome in preview["outcomes"]] == [None, "case_changed"]
    assert desk.read(first.id).state == "open"
    assert client.post("/v1/cases:decide", json=body | {"count": 2}).status_code == 409
    assert desk.read(first.id).state == "open"
    done = client.post("/v1/cases:decide", json=body | {"count": 1}).json()
    assert (done["preview"], done["count"]) == (False, 1)
    assert [desk.read(case.id).state for case in (first, second)] == ["decided", "open"]


def test_metrics_have_no_case_and_no_concept(client: TestClient, desk: Desk) -> None:
    case = desk.open("us-tida")
    desk.clock.advance(47 * 3600)
    families = list(text_string_to_metric_families(client.get("/metrics").text))
    found = {(sample.name, *sample.labels.values()): sample.value for one in families for sample in one.samples}
    assert found["expunge_cases", "open"] == 1
    assert found["expunge_case_due_seconds", "us-tida"] == 3600
    desk.wait(case, 2 * 3600)
    text = client.get("/metrics").text
    assert 'expunge_deadlines_missed_total{basis="us-tida"} 1.0' in text
    assert case.id not in text


def test_logs_have_no_personal_data(client: TestClient, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    case = client.post("/v1/cases", json=CASE).json()
    client.post("/v1/cases:search", json={"name": CANARIES[2]})
    client.post(f"/v1/cases/{case['id']}/decisions", json=ERASE | {"version": 99})
    client.post("/v1/cases", content=json.dumps(CASE)[:-1])
    assert [canary for canary in CANARIES if canary in caplog.text] == []


def test_dsa_form_conforms_to_the_published_fields(client: TestClient, desk: Desk) -> None:
    """Field names and formats as the database's API documents them."""
    form = client.get(f"/v1/cases/{desk.in_force('us-tida').id}/statement.dsa").json()
    required = (
        "decision_visibility",
        "decision_ground",
        "content_type",
        "category",
        "content_date",
        "application_date",
    )
    day = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\d$"}
    schema = {
        "required": [*required, "decision_facts", "source_type", "automated_detection", "automated_decision", "puid"],
        "properties": {
            "application_date": day,
            "content_date": day,
            "puid": {"pattern": "^[A-Za-z0-9_-]{1,500}$"},
            "illegal_content_legal_ground": {"maxLength": 500},
        },
    }
    jsonschema.validate(form, schema)
