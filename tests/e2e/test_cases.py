"""End-to-end test: a notice becomes a case, its decision takes effect in a worker, and a counter-notice has it restored."""

from pathlib import Path
from typing import Any

import httpx

from api_schemas.cases import Case
from api_schemas.cases_requests import CaseRequest, CounterNotice, DecisionBody
from tests.fakes.desk import CANARIES, ERASE, NOTICE, WITHHOLD
from tests.fakes.stack import Stack, running_stack, wait_until


def wait_for(stack: Stack, case: Case, state: str) -> Case:
    wait_until(lambda: stack.client.cases.get(case.id).state == state)
    return stack.client.cases.get(case.id)


def hub_status(stack: Stack) -> int:
    url = f"{stack.url}/hf/api/models/expunge/tiny"
    return httpx.get(url, headers=stack.authorization, trust_env=False).status_code


def test_notice_to_restoration(tmp_path: Path) -> None:
    with running_stack(tmp_path / "data", EXPUNGE_CASE_UNDO_SECONDS="0.2") as stack:
        for decision, status_in_force in ((ERASE, 200), (WITHHOLD, 451)):
            case = put_in_force(stack, decision)
            assert hub_status(stack) == status_in_force
            assert_statement(stack, case)
            restore(stack, case)
            assert hub_status(stack) == 200
            assert stack.client.models.ledger("tiny").removals == []
        assert stack.client.cases.personal_data(case.id).notice.concept == CANARIES[2]
        logs = "".join(path.read_text() for path in (tmp_path / "data" / "logs").glob("*.log"))
        assert [canary for canary in CANARIES if canary in logs] == []


def put_in_force(stack: Stack, decision: dict[str, Any]) -> Case:
    body = {"bases": ["us-dmca"], "notice": NOTICE, "models": ["tiny"]}
    opened = stack.client.cases.create(CaseRequest.model_validate(body, strict=False))
    claimed = stack.client.cases.claim_next()
    assert claimed
    assert (claimed.id, claimed.state) == (opened.id, "open")
    stack.client.cases.decide(claimed, DecisionBody.model_validate(decision))
    return wait_for(stack, opened, "in_force")


def assert_statement(stack: Stack, case: Case) -> None:
    statement = stack.client.cases.statement(case.id)
    assert statement.dsa
    assert len(statement.effects) == 1
    url = f"{stack.url}/v1/cases/{case.id}/statement"
    pdf, page = (httpx.get(f"{url}.{form}", headers=stack.authorization, trust_env=False) for form in ("pdf", "html"))
    assert pdf.content.startswith(b"%PDF-")
    assert case.reference in page.text


def restore(stack: Stack, case: Case) -> None:
    contested = stack.client.cases.add_counter_notice(case, CounterNotice(explanation="a parody"))
    assert contested.targets[0].restore_not_before
    stack.client.cases.restore(contested, "the notifier has retracted", override=True)
    assert wait_for(stack, case, "restored").targets[0].state == "revoked"
