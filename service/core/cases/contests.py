"""Counter-notices and complaints, and what becomes of them: a hold, a restoration, or a decision that stands."""

from datetime import datetime
from typing import cast

from api_schemas.cases import CaseState
from api_schemas.cases_requests import (
    Complaint,
    ComplaintRequest,
    CounterNotice,
    CounterNoticeRequest,
    HoldRequest,
    ResolutionRequest,
    RestoreRequest,
)
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import targets
from service.core.cases.change import CaseChange, changing
from service.core.cases.intake import check_past, meet_deadlines, start_deadline
from service.errors import Forbidden, WrongCaseState
from service.store import cases
from service.store.cases_orm import CaseContest
from service.store.ids import prefixed_id

OPERATE = "cases:operate"
RESTORABLE: tuple[CaseState, ...] = ("applying", "at_risk", "in_force", "contested")


def add_counter_notice(app_state: AppState, caller: Caller, case_id: str, request: CounterNoticeRequest) -> None:
    """Store a counter-notice, and start the clocks before and after which the targets are restored."""
    states: tuple[CaseState, ...] = ("at_risk", "in_force", "contested")
    with changing(app_state, caller, case_id, request.version, states) as change:
        check_past(("received_at",), request.received_at, change.now)
        received_at = request.received_at or change.now
        body = CounterNotice.model_validate(request.model_dump(exclude={"version"}))
        _insert(change, "counter_notice", received_at, body)
        for basis in change.case.bases:
            earliest = start_deadline(change, basis, "restore_not_before", received_at)
            start_deadline(change, basis, "restore_not_after", received_at)
            if earliest:
                _protect(change, earliest.due_at)
        _contest(change, "counter_notice")


def add_complaint(app_state: AppState, caller: Caller, case_id: str, request: ComplaintRequest) -> None:
    """Store a complaint that arrived within the complaint window."""
    states: tuple[CaseState, ...] = ("in_force", "refused", "restored", "contested")
    with changing(app_state, caller, case_id, request.version, states) as change:
        check_past(("received_at",), request.received_at, change.now)
        received_at = request.received_at or change.now
        windows = [one.due_at for one in change.case.deadlines if one.kind == "complaint_window"]
        if windows and received_at > max(windows):
            raise WrongCaseState(f"The complaint window of {change.case.reference} ended on {max(windows):%Y-%m-%d}.")
        body = Complaint.model_validate(request.model_dump(exclude={"version"}))
        _insert(change, "complaint", received_at, body)
        _contest(change, "complaint")


def _insert(change: CaseChange, kind: str, received_at: datetime, body: CounterNotice | Complaint) -> None:
    prefix = "ctn" if kind == "counter_notice" else "cmp"
    change.session.add(
        CaseContest(
            id=prefixed_id(prefix, change.now),
            case_id=change.case.id,
            kind=kind,
            received_at=received_at,
            sealed=change.key.seal(body.model_dump_json()),
        )
    )


def _protect(change: CaseChange, not_before: datetime) -> None:
    """Keep the targets from being restored before a time."""
    for target in change.case.targets:
        target.restore_not_before = max(target.restore_not_before or not_before, not_before)


def _contest(change: CaseChange, kind: str) -> None:
    if change.case.state == "contested":
        change.note(kind)
        return
    change.case.contested_from = change.case.state
    change.note(kind)
    change.move("contested")


def hold(app_state: AppState, caller: Caller, case_id: str, request: HoldRequest) -> None:
    """Hold the restoration because a court action was shown, or end the hold."""
    with changing(app_state, caller, case_id, request.version, ("contested",)) as change:
        change.case.held = request.held
        change.note("held" if request.held else "hold_ended", request.reason)
        if request.held:
            meet_deadlines(change, "restore_not_after")
        elif _is_time_to_restore(change):
            begin_restoration(change, "the hold has ended")


def _is_time_to_restore(change: CaseChange) -> bool:
    """Return whether a counter-notice is unresolved and its earliest time of restoration has come."""
    contests = cases.contests(change.session, change.case.id)
    waiting = any(one.kind == "counter_notice" and one.resolved_at is None for one in contests)
    times = [target.restore_not_before for target in change.case.targets if target.restore_not_before]
    return waiting and bool(times) and max(times) <= change.now


def restore(app_state: AppState, caller: Caller, case_id: str, request: RestoreRequest) -> None:
    """Restore the targets. Raises `RestoredTooEarly` before the time that a counter-notice sets, unless it is overridden."""
    if request.override and OPERATE not in caller.scopes:
        raise Forbidden("An override needs the scope cases:operate.", remedy="Ask an operator.")
    with changing(app_state, caller, case_id, request.version, RESTORABLE) as change:
        if change.case.held and not request.override:
            raise WrongCaseState(f"{change.case.reference} is on hold.", remedy="End the hold, or override it.")
        begin_restoration(change, request.reason, override=request.override)


def begin_restoration(change: CaseChange, reason: str, *, override: bool = False) -> None:
    """Contest the case, if nobody has, and restore its targets."""
    targets.check_restorable(change, override)
    change.note("restoration", reason)
    if change.case.state != "contested":
        change.case.contested_from = change.case.state
        change.move("contested")
    _resolve_all(change, "restored")
    targets.restore(change, override=override)


def resolve(app_state: AppState, caller: Caller, case_id: str, request: ResolutionRequest) -> None:
    """Resolve what contests a case: restore its targets or open a refused case again, or let the decision stand."""
    with changing(app_state, caller, case_id, request.version, ("contested",), claimed=False) as change:
        if any(target.state == "revoking" for target in change.case.targets):
            raise WrongCaseState(f"{change.case.reference} is being restored.")
        came_from = cast(CaseState, change.case.contested_from)
        if request.outcome == "rejected":
            change.note("rejected", request.reason)
            _resolve_all(change, "rejected")
            meet_deadlines(change, "restore_not_before", "restore_not_after")
            change.case.held = False
            change.move(came_from if came_from != "applying" else "at_risk")
        elif came_from in ("refused", "restored"):
            _resolve_all(change, "upheld")
            for basis in change.case.bases:
                start_deadline(change, basis, "action", change.now)
            change.move("open", "reopened", request.reason)
        else:
            begin_restoration(change, request.reason)


def _resolve_all(change: CaseChange, outcome: str) -> None:
    for contest in cases.contests(change.session, change.case.id):
        if contest.resolved_at is None:
            contest.resolved_at, contest.outcome = change.now, outcome
