"""Claims, other tenants, sealed personal data, and what the database refuses whatever the code does."""

from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlalchemy.exc import IntegrityError

from service.core.caller import Caller
from service.core.cases import closing, queue, reading
from service.errors import (
    CaseClaimed,
    NotFound,
)
from service.store import cases
from service.store.cases_orm import Case as CaseRow
from service.store.cases_orm import CaseDeadline, CaseDecision, CaseTarget
from tests.fakes.desk import CANARIES, ERASE, REFUSE, Desk


def test_claims_are_leases(desk: Desk) -> None:
    case, other = desk.open(), desk.reviewer
    queue.claim(desk.app_state, desk.agent, case.id)
    with pytest.raises(CaseClaimed):
        queue.claim(desk.app_state, other, case.id)
    desk.clock.advance(899)
    with pytest.raises(CaseClaimed):
        queue.claim(desk.app_state, other, case.id)
    desk.clock.advance(1)
    queue.claim(desk.app_state, other, case.id)
    assert desk.read(case.id).claim
    with pytest.raises(CaseClaimed):
        desk.decide(case, ERASE)
    queue.claim(desk.app_state, desk.agent, case.id, takeover=True)
    desk.decide(case, ERASE)


def test_next_case_is_due_first_and_free(desk: Desk) -> None:
    slow, quick, free = desk.open("eu-gdpr"), desk.open("us-tida"), desk.open("policy")
    order = [queue.claim_next(desk.app_state, desk.agent) for _ in range(4)]
    assert order == [quick.id, slow.id, free.id, None]


def test_cases_of_other_tenants_do_not_exist(desk: Desk) -> None:
    case, other = desk.open(), Caller("k", "two", desk.agent.scopes)
    for call in (reading.read, reading.read_personal_data, queue.claim):
        with pytest.raises(NotFound):
            call(desk.app_state, other, case.id)
    assert queue.claim_next(desk.app_state, other) is None
    assert reading.search(desk.app_state, other, CANARIES[2]) == []


def test_personal_data_is_sealed_wherever_it_is_stored(desk: Desk) -> None:
    case = desk.counter(desk.in_force())
    desk.decide(desk.open(), REFUSE | {"facts": CANARIES[3]})
    with desk.app_state.database.read() as session:
        tables = session.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars().all()
        clear = {
            table: [
                canary for canary in CANARIES if canary in str(session.execute(text(f"SELECT * FROM {table}")).all())
            ]
            for table in tables
        }
    jobs_need = {"jobs": [CANARIES[2]], "ledger_entries": [CANARIES[2]]}
    assert {table: found for table, found in clear.items() if found} == jobs_need
    read = reading.read_personal_data(desk.app_state, desk.agent, case.id)
    assert read.notice.concept == CANARIES[2]
    assert list(read.facts.values()) == [CANARIES[3]]
    assert [one.explanation for one in read.counter_notices.values()] == ["a parody by zyxomma"]
    with desk.app_state.database.read() as session:
        assert [event.kind for event in cases.events(session, case.id, after=0, limit=100)][-1] == "read"


def test_names_are_found_without_regard_to_case_and_not_after_erasure(desk: Desk) -> None:
    case = desk.close(desk.open(), "void")
    for name in ("ZYXOMMALAND", "zyxomma", CANARIES[0].lower(), CANARIES[1]):
        assert [found.id for found in reading.search(desk.app_state, desk.agent, name)] == [case.id]
    assert reading.search(desk.app_state, desk.agent, "zyxom") == []
    closing.erase(desk.app_state, desk.agent, case.id, case.version)
    assert reading.search(desk.app_state, desk.agent, "zyxomma") == []


def test_the_database_refuses_what_must_not_happen(desk: Desk) -> None:
    case = desk.in_force()
    row, target = update(CaseRow).where(CaseRow.id == case.id), update(CaseTarget).where(CaseTarget.case_id == case.id)
    forbidden = [
        row.values(state="received"),
        row.values(statement_id=None),
        target.values(state="planned"),
        target.values(verdict="failed"),
        target.values(state="revoking", restore_not_before=desk.clock() + timedelta(1), revoking_at=desk.clock()),
        update(CaseDecision).values(reason="another"),
        update(CaseDeadline).values(due_at=desk.clock() + timedelta(days=900)),
        update(CaseDeadline).values(met_at=None),
    ]
    for statement in forbidden:
        with pytest.raises(IntegrityError), desk.app_state.database.write() as session:
            session.execute(statement)
    for table in ("cases", "case_deadlines", "case_decisions", "case_events", "case_statements", "case_targets"):
        with pytest.raises(IntegrityError), desk.app_state.database.write() as session:
            session.execute(text(f"DELETE FROM {table}"))


def test_no_case_is_in_force_with_a_target_that_is_not(desk: Desk) -> None:
    case = desk.apply(desk.open(), ERASE)
    values = {"state": "in_force", "no_statement_reason": "none"}
    with pytest.raises(IntegrityError, match="neither in force"), desk.app_state.database.write() as session:
        session.execute(update(CaseRow).where(CaseRow.id == case.id).values(values))


def test_full_quota_delays_edits_and_loses_none(desk: Desk) -> None:
    object.__setattr__(
        desk.app_state, "settings", desk.app_state.settings.model_copy(update={"max_unfinished_jobs": 1})
    )
    first = desk.apply(desk.open(), ERASE | {"removal": {"concept": "owl"}})
    second = desk.apply(desk.open(), ERASE | {"removal": {"concept": "elk"}})
    assert [case.targets[0].state for case in (first, second)] == ["queued", "planned"]
    desk.end_edit(first.targets[0].edit)
    desk.sweep()
    assert desk.read(second.id).targets[0].state == "queued"
