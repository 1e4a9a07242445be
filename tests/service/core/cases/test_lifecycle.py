"""The way of a case: opened, decided, in force with a statement, contested, restored, closed, erased."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from api_schemas.cases_requests import (
    ComplaintRequest,
    ExtendRequest,
    HoldRequest,
    Notice,
    NoticeUpdate,
    ResolutionRequest,
)
from service.core.caller import Caller
from service.core.cases import closing, contests, decisions, intake, reading
from service.errors import (
    CaseChanged,
    CaseErased,
    Forbidden,
    InvalidRequest,
    RestoredTooEarly,
    WrongCaseState,
)
from service.store import audit, cases
from service.store.cases_orm import CaseTarget
from service.store.orm import Job, WebhookDelivery, WebhookEndpoint
from tests.fakes.desk import CANARIES, ERASE, NOTICE, REFUSE, WITHHOLD, Desk

DAY = 86_400


def test_complete_notice_opens_the_case_and_starts_its_clock(desk: Desk) -> None:
    case = desk.open("us-tida")
    assert (case.state, case.reference, case.missing) == ("open", "C-2026-00001", [])
    (deadline,) = case.deadlines
    assert deadline.due_at - case.received_at == timedelta(hours=48)
    assert (deadline.rule, deadline.rule_version) == ("48 hours", "examples-1")
    assert case.due_at == deadline.due_at
    assert desk.open("us-tida").reference == "C-2026-00002"


def test_incomplete_notice_lists_what_is_missing_and_starts_no_clock(desk: Desk) -> None:
    case = desk.open("us-dmca", signature=None, statements=[])
    assert case.state == "incomplete"
    assert case.missing == ["signature", "statements.accuracy", "statements.good_faith", "statements.perjury"]
    assert case.deadlines == []
    with pytest.raises(WrongCaseState):
        desk.decide(case, ERASE)
    desk.clock.advance(3 * DAY)
    notice = Notice.model_validate(NOTICE, strict=False)
    intake.replace_notice(desk.app_state, desk.agent, case.id, NoticeUpdate(version=case.version, notice=notice))
    opened = desk.read(case.id)
    assert (opened.state, opened.missing, opened.complete_at) == ("open", [], desk.clock())


def test_decision_waits_in_the_outbox_and_then_queues_one_edit_per_target(desk: Desk) -> None:
    case = desk.decide(desk.open(), ERASE)
    assert case.state == "decided"
    assert case.pending_decision
    assert case.pending_decision.applies_at == desk.clock() + timedelta(seconds=30)
    assert desk.wait(case, 29).state == "decided"
    applied = desk.wait(case, 2)
    assert applied.state == "applying"
    (target,) = applied.targets
    assert target.state == "queued"
    with desk.app_state.database.read() as session:
        (job,) = session.scalars(select(Job))
        (decision,) = cases.decisions(session, case.id)
    assert (job.id, job.tenant, job.request["ledger"], job.request["withhold_names"]) == (
        target.edit,
        "one",
        True,
        True,
    )
    assert job.request["removals"][0]["concept"] == CANARIES[2]
    assert decision.reason.startswith("The model could reproduce 2 protected work(s) or a protected character")


def test_passed_edit_puts_the_case_in_force_with_a_statement(desk: Desk) -> None:
    case = desk.in_force()
    assert case.state == "in_force"
    assert [(target.state, target.revision) for target in case.targets] == [("in_force", 1)]
    assert {deadline.kind: deadline.status for deadline in case.deadlines} == {
        "action": "met",
        "complaint_window": "running",
    }
    with desk.app_state.database.read() as session:
        statement = cases.latest_statement(session, case.id)
    assert statement
    assert statement.content["effects"] == ["tiny: the concept was removed, revision 1"]
    assert statement.content["dsa"]["decision_visibility"] == ["DECISION_VISIBILITY_OTHER"]


@pytest.mark.parametrize("verdict", ["failed", "inconclusive"])
def test_an_edit_that_did_not_pass_is_ineffective_and_never_done(desk: Desk, verdict: str) -> None:
    case = desk.apply(desk.open(), ERASE)
    desk.end_edit(case.targets[0].edit, verdict)
    case = desk.wait(case, 1)
    assert (case.state, case.targets[0].state) == ("at_risk", "ineffective")
    assert {one.kind: one.status for one in case.deadlines}["action"] == "running"
    withheld = desk.apply(case, WITHHOLD)
    assert (withheld.state, withheld.targets[0].state) == ("in_force", "withheld")


def test_a_crashed_edit_is_ineffective_and_a_conflict_is_named(desk: Desk) -> None:
    first, second = (desk.apply(desk.open(), ERASE | {"removal": {"concept": name}}) for name in ("owl", "elk"))
    desk.end_edit(first.targets[0].edit, fails=True)
    desk.end_edit(second.targets[0].edit, fails=True, code="ledger_conflict")
    desk.sweep()
    assert [desk.read(case.id).targets[0].state for case in (first, second)] == ["ineffective", "conflict"]


def test_a_running_edit_may_end_the_withholding(desk: Desk) -> None:
    case = desk.apply(desk.open(), ERASE)
    case = desk.apply(case, WITHHOLD)
    assert (case.state, case.targets[0].state) == ("in_force", "withheld")
    desk.end_edit(case.targets[0].edit)
    case = desk.wait(case, 1)
    assert (case.targets[0].state, case.targets[0].withheld_at) == ("in_force", None)
    with desk.app_state.database.read() as session:
        statement = cases.latest_statement(session, case.id)
    assert statement
    assert statement.content["effects"] == ["tiny: the concept was removed, revision 1"]


def test_undo_within_the_time(desk: Desk) -> None:
    case = desk.decide(desk.open(), ERASE)
    decisions.undo(desk.app_state, desk.agent, case.id, case.version)
    case = desk.wait(case, 60)
    assert (case.state, case.pending_decision, case.targets[0].state) == ("open", None, "planned")
    with pytest.raises(WrongCaseState):
        decisions.undo(desk.app_state, desk.agent, case.id, case.version)


def test_two_pairs_of_eyes(desk: Desk) -> None:
    case = desk.decide(desk.open("eu-dsa"), ERASE)
    assert case.state == "open"
    assert case.pending_decision
    assert case.pending_decision.awaits_approval
    assert desk.wait(case, 3600).state == "open"
    with pytest.raises(Forbidden):
        decisions.approve(desk.app_state, desk.agent, case.id, case.version)
    decisions.approve(desk.app_state, desk.reviewer, case.id, case.version)
    assert desk.read(case.id).state == "decided"
    assert desk.wait(case, 31).state == "applying"


def test_stale_version_is_refused_with_what_has_changed(desk: Desk) -> None:
    case = desk.open()
    desk.decide(case, ERASE)
    with pytest.raises(CaseChanged) as raised:
        decisions.undo(desk.app_state, desk.reviewer, case.id, case.version)
    (change,) = raised.value.errors
    assert (change.code, change.field) == ("decided", "version")
    assert "agent-1" in change.message


def test_decision_is_checked_before_it_is_made(desk: Desk) -> None:
    case = desk.open()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"slots": {}}, "slots.kind"),
        ({"slots": ERASE["slots"] | {"work_count": "two"}}, "slots.work_count"),
        ({"slots": ERASE["slots"] | {"name": "x"}}, "slots.name"),
        ({"slots": ERASE["slots"] | {"received_on": "01.05.2026"}}, "slots.received_on"),
        ({"template": "unfounded"}, "template"),
    ]
    for change, field in wrong:
        with pytest.raises(InvalidRequest) as raised:
            desk.decide(case, ERASE | change)
        assert field in [error.field for error in raised.value.errors]
    assert desk.read(case.id).version == case.version


def test_refusal_gives_a_statement_and_opens_the_complaint_window(desk: Desk) -> None:
    case = desk.apply(desk.open(), REFUSE)
    assert case.state == "refused"
    window = next(one for one in case.deadlines if one.kind == "complaint_window")
    assert window.status == "running"
    version, body = case.version, {"explanation": "it was substantiated"}
    contests.add_complaint(desk.app_state, desk.agent, case.id, ComplaintRequest(**body, version=version))
    contested = desk.read(case.id)
    assert contested.state == "contested"
    resolution = ResolutionRequest(version=contested.version, outcome="upheld", reason="it was")
    contests.resolve(desk.app_state, desk.reviewer, case.id, resolution)
    reopened = desk.read(case.id)
    assert reopened.state == "open"
    assert reopened.due_at


def test_counter_notice_restores_not_before_its_time(desk: Desk) -> None:
    case = desk.counter(desk.in_force())
    assert case.state == "contested"
    due = {one.kind: one.due_at for one in case.deadlines}
    assert due["restore_not_before"] == datetime(
        2026, 5, 16, 4, tzinfo=UTC
    )  # ten business days after Friday 1 May, New York
    assert due["restore_not_after"] == datetime(2026, 5, 22, 4, tzinfo=UTC)
    with pytest.raises(RestoredTooEarly):
        desk.restore(case)
    desk.clock.now = due["restore_not_before"] - timedelta(seconds=1)
    desk.sweep()
    assert desk.read(case.id).targets[0].state == "in_force"
    desk.clock.now = due["restore_not_before"]
    desk.sweep()
    case = desk.read(case.id)
    assert case.targets[0].state == "revoking"
    desk.end_edit(case.targets[0].revocation)
    case = desk.wait(case, 1)
    assert (case.state, case.targets[0].state) == ("restored", "revoked")
    assert {one.status for one in case.deadlines if one.kind.startswith("restore")} == {"met"}


def test_a_hold_keeps_a_case_from_being_restored(desk: Desk) -> None:
    case = desk.counter(desk.in_force())
    contests.hold(desk.app_state, desk.agent, case.id, HoldRequest(version=case.version, reason="docket 26-1"))
    case = desk.wait(case, 40 * DAY)
    assert (case.state, case.targets[0].state, case.held) == ("contested", "in_force", True)
    assert "missed" not in {one.status for one in case.deadlines}
    contests.hold(
        desk.app_state, desk.agent, case.id, HoldRequest(version=case.version, held=False, reason="dismissed")
    )
    assert desk.read(case.id).targets[0].state == "revoking"


def test_override_needs_an_operator_and_is_recorded(desk: Desk) -> None:
    case = desk.counter(desk.in_force())
    plain = Caller("reviewer-2", "one", frozenset({"cases:review"}))
    with pytest.raises(Forbidden):
        desk.restore(case, override=True, by=plain)
    assert desk.restore(case, override=True).targets[0].state == "revoking"
    with desk.app_state.database.read() as session:
        assert session.scalar(select(CaseTarget.overridden_by)) == "reviewer-1"


def test_rejected_counter_notice_leaves_the_decision_in_force(desk: Desk) -> None:
    case = desk.counter(desk.in_force())
    resolution = ResolutionRequest(version=case.version, outcome="rejected", reason="no signature")
    contests.resolve(desk.app_state, desk.reviewer, case.id, resolution)
    case = desk.wait(case, 40 * DAY)
    assert (case.state, case.targets[0].state) == ("in_force", "in_force")


def test_failed_revocation_is_not_restored(desk: Desk) -> None:
    case = desk.restore(desk.in_force())
    desk.end_edit(case.targets[0].revocation, fails=True)
    case = desk.wait(case, 1)
    assert (case.state, case.targets[0].state) == ("contested", "in_force")
    case = desk.restore(case)
    desk.end_edit(case.targets[0].revocation)
    assert desk.wait(case, 1).state == "restored"


def test_missed_deadline_is_marked_and_announced(desk: Desk) -> None:
    with desk.app_state.database.write() as session:
        columns = dict.fromkeys(("url", "description", "secret", "private_key", "public_key"), "x")
        events = ["case.deadline_missed", "case.at_risk"]
        session.add(WebhookEndpoint(id="whe", tenant="one", events=events, created_at=desk.clock(), **columns))
    case = desk.apply(desk.open("us-tida"), ERASE)
    case = desk.wait(case, 1.6 * DAY)
    assert case.state == "at_risk"  # less than a quarter of 48 hours is left
    case = desk.wait(case, DAY)
    assert case.overdue
    assert case.deadlines[0].status == "missed"
    desk.end_edit(case.targets[0].edit)
    late = desk.wait(case, 1)
    assert (late.state, late.deadlines[0].status) == ("in_force", "missed")
    assert late.deadlines[0].met_at
    with desk.app_state.database.read() as session:
        bodies = [row.body for row in session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.id))]
    assert [event in body for event, body in zip(("at_risk", "deadline_missed"), bodies, strict=True)] == [True, True]
    assert case.reference in bodies[0]


def test_extended_deadline(desk: Desk) -> None:
    case = desk.open("us-tida")
    (deadline,) = case.deadlines
    later = deadline.due_at + timedelta(days=1)
    request = ExtendRequest(version=case.version, due_at=later, reason="the notifier agreed")
    closing.extend(desk.app_state, desk.reviewer, case.id, deadline.id, request)
    assert desk.read(case.id).due_at == later
    earlier = request.model_copy(update={"due_at": deadline.due_at, "version": case.version + 1})
    with pytest.raises(InvalidRequest):
        closing.extend(desk.app_state, desk.reviewer, case.id, deadline.id, earlier)


def test_case_closes_by_itself_and_is_erased_after_its_retention(desk: Desk) -> None:
    case = desk.in_force()
    with pytest.raises(WrongCaseState):
        desk.close(case)
    window = next(one for one in case.deadlines if one.kind == "complaint_window")
    case = desk.wait(case, (window.due_at - desk.clock()).total_seconds())
    assert case.state == "closed"
    assert case.retain_until
    case = desk.wait(case, (case.retain_until - desk.clock()).total_seconds())
    assert case.erased_at == desk.clock()
    with pytest.raises(CaseErased):
        reading.read_personal_data(desk.app_state, desk.agent, case.id)
    with desk.app_state.database.read() as session:
        assert audit.verify(session).fault is None


def test_withdrawn_case_needs_nothing_undone(desk: Desk) -> None:
    assert desk.close(desk.open(), "withdrawn").state == "withdrawn"
    with pytest.raises(WrongCaseState):
        desk.close(desk.in_force(), "withdrawn")
