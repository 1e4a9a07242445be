"""What happens to cases by itself: decisions take effect, edits end, deadlines pass, restorations fall due, keys are destroyed.

Each case is changed in a transaction of its own, so that a case with a fault does not delay the others.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from api_schemas.cases_requests import DecisionBody
from service.core.app_state import AppState
from service.core.cases import closing, contests, decisions, targets
from service.core.cases.change import SERVICE, CaseChange, open_change
from service.store import cases, webhooks
from service.store.cases_orm import CaseDeadline
from service.store.errors import StoreUnavailable
from service.store.failpoints import failpoint

log = logging.getLogger(__name__)

AT_RISK_SHARE = 0.25
"""Share of the time to the action deadline below which a case whose edits are still running is at risk."""


def sweep(app_state: AppState) -> int:
    """Make every change that is due. Returns the number of cases that were looked at. Raises `StoreUnavailable`."""
    due = _find_due(app_state)
    for case_id, step in due:
        try:
            _run(app_state, case_id, step)
        except StoreUnavailable:
            raise
        except (
            Exception
        ) as error:  # Its message may quote what is sealed. The case is looked at again in the next sweep.
            log.error("%s: its change failed with %s", case_id, type(error).__name__)
    return len(due)


Step = Callable[[CaseChange], None]


def _find_due(app_state: AppState) -> Sequence[tuple[str, Step]]:
    now = app_state.clock()
    with app_state.database.read() as session:
        return [
            *((case_id, _apply) for case_id in cases.due_decisions(session, now=now)),
            *((case_id, targets.record_outcomes) for case_id in cases.cases_with_ended_jobs(session)),
            *((case_id, _queue_planned) for case_id in cases.cases_with_planned_targets(session)),
            *((case_id, _pass_deadlines) for case_id in cases.cases_with_reached_deadlines(session, now=now)),
            *(
                (case_id, _mark_at_risk)
                for case_id, start, end in cases.cases_short_of_time(session, now=now)
                if _is_short(start, end, now)
            ),
        ]


def _run(app_state: AppState, case_id: str, step: Step) -> None:
    with app_state.database.write() as session:
        change = open_change(app_state, session, SERVICE, case_id)
        step(change)
        change.finish()
        failpoint("sweep.written")
    failpoint("sweep.committed")


def _apply(change: CaseChange) -> None:
    """Apply the decision, unless it was undone in the meantime."""
    case = change.case
    if case.state == "decided" and case.pending_until and case.pending_until <= change.now:
        decisions.apply(change)


def _queue_planned(change: CaseChange) -> None:
    """Queue the edits for which there was no room."""
    decision = change.last_decision
    if decision and decision.action == "erase" and change.case.state in ("applying", "at_risk"):
        targets.queue_edits(change, decision, DecisionBody.model_validate_json(change.key.open(decision.sealed)))


def _is_short(start: datetime, end: datetime, now: datetime) -> bool:
    return end - now < AT_RISK_SHARE * (end - start)


def _mark_at_risk(change: CaseChange) -> None:
    if change.case.state == "applying":
        change.move("at_risk", detail="little time is left")


def _pass_deadlines(change: CaseChange) -> None:
    """Mark duties as missed and periods as over, and do what the end of a period asks for."""
    for deadline in change.case.deadlines:
        if deadline.due_at <= change.now and deadline.met_at is None and deadline.missed_at is None:
            _pass_deadline(change, deadline)


def _pass_deadline(change: CaseChange, deadline: CaseDeadline) -> None:
    case = change.case
    if deadline.kind in cases.DUTIES:
        deadline.missed_at = change.now
        change.note("deadline_missed")
        webhooks.enqueue_case_deliveries(change.session, case, "deadline_missed", now=change.now)
        return
    if deadline.kind == "restore_not_before" and targets.running_models(change):
        return  # it is restored as soon as the edits have ended
    deadline.met_at = change.now
    change.note(f"{deadline.kind}_over")
    change.session.flush()
    others = [one for one in case.deadlines if one.kind == deadline.kind and one.met_at is None]
    if others:
        return
    if deadline.kind == "restore_not_before" and case.state == "contested" and not case.held:
        contests.begin_restoration(change, "the time of the counter-notice has come")
    elif deadline.kind == "complaint_window" and case.state in closing.CLOSABLE:
        closing.end(change, "closed")
    elif deadline.kind == "retention":
        closing.destroy_key(change)
