"""The end of a case: closed, withdrawn, void or merged; extended deadlines; and the erasure of its personal data."""

from api_schemas.cases import CaseState
from api_schemas.cases_requests import CloseRequest, ExtendRequest
from api_schemas.problems import invalid_field
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases.change import CaseChange, changing
from service.core.cases.decisions import clear_pending
from service.core.cases.intake import meet_deadlines, start_deadline
from service.errors import InvalidRequest, NotFound, WrongCaseState
from service.store import cases
from service.store.cases_orm import CaseDeadline

CLOSABLE: tuple[CaseState, ...] = ("in_force", "refused", "restored")
BEFORE_MEASURES: tuple[CaseState, ...] = ("received", "incomplete", "open", "decided")
ERASABLE: tuple[CaseState, ...] = ("closed", "withdrawn", "void", "merged")


def close(app_state: AppState, caller: Caller, case_id: str, request: CloseRequest) -> None:
    """End a case: close it when its complaint windows are over, or take it off the desk before anything was done."""
    states = CLOSABLE if request.outcome == "closed" else BEFORE_MEASURES
    with changing(app_state, caller, case_id, request.version, states) as change:
        if request.outcome == "closed":
            _check_windows(change)
        elif any(target.state not in ("planned", "conflict", "revoked") for target in change.case.targets):
            raise WrongCaseState(f"{change.case.reference} still restricts models.", remedy="Restore them first.")
        if request.outcome == "merged":
            _merge(change, request.duplicate_of)
        if change.case.pending:
            clear_pending(change)
        end(change, request.outcome, request.reason)


def end(change: CaseChange, state: CaseState, reason: str | None = None) -> None:
    """Move a case to its last state, end its duties and start its retention."""
    meet_deadlines(change, "action", "restore_not_before", "restore_not_after", "complaint_window")
    change.case.claimed_by, change.case.claimed_until = None, None
    change.move(state, detail=reason)
    deadlines = [start_deadline(change, basis, "retention", change.now) for basis in change.case.bases]
    change.case.retain_until = max((one.due_at for one in deadlines if one), default=None)


def _check_windows(change: CaseChange) -> None:
    windows = [one.due_at for one in change.case.deadlines if one.kind == "complaint_window"]
    if windows and max(windows) > change.now:
        raise WrongCaseState(
            f"The complaint window of {change.case.reference} is open until {max(windows):%Y-%m-%d}.",
            remedy="The service closes the case by itself when the window is over.",
        )


def _merge(change: CaseChange, duplicate_of: str | None) -> None:
    other = cases.get(change.session, change.case.tenant, duplicate_of) if duplicate_of else None
    if other is None or other.id == change.case.id:
        error = invalid_field(
            ("duplicate_of",),
            code="no_such_case",
            message="is not another case",
            remedy="Name the case that continues.",
        )
        raise InvalidRequest("A merged case needs the case that continues it.", errors=[error])
    change.case.duplicate_of = other.id


def extend(app_state: AppState, caller: Caller, case_id: str, deadline_id: str, request: ExtendRequest) -> None:
    """Move a deadline that is still running, with a reason."""
    with changing(app_state, caller, case_id, request.version) as change:
        deadline = change.session.get(CaseDeadline, deadline_id)
        if deadline is None or deadline.case_id != change.case.id:
            raise NotFound(f'There is no deadline "{deadline_id}".', remedy="Read the case: it lists its deadlines.")
        if deadline.met_at or deadline.missed_at or deadline.kind == "restore_not_before":
            raise WrongCaseState("The deadline cannot be extended: it was met or missed, or protects the notifier.")
        if request.due_at <= deadline.due_at:
            error = invalid_field(
                ("due_at",), code="not_later", message="is not later than the deadline", remedy="Send a later time."
            )
            raise InvalidRequest("A deadline can only be extended.", errors=[error])
        deadline.due_at, deadline.extended_at, deadline.reason = request.due_at, change.now, request.reason
        change.note("deadline_extended")


def erase(app_state: AppState, caller: Caller, case_id: str, version: int) -> None:
    """Destroy the key of an ended case's personal data. Its history stays, without what was sealed."""
    with changing(app_state, caller, case_id, version, ERASABLE) as change:
        destroy_key(change)


def destroy_key(change: CaseChange) -> None:
    """Destroy the data key and the index of names. Has no effect on a case that is erased already."""
    if change.case.data_key is None:
        return
    cases.erase_names(change.session, change.case.id)
    change.case.data_key, change.case.erased_at = None, change.now
    change.note("erased")
