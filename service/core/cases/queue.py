"""Claims: who works on a case, as a lease. The next case is the one that is due first and that nobody has claimed."""

from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases.change import CaseChange, changing, claim_end, is_claimed
from service.store import audit, cases
from service.store.failpoints import failpoint


def claim(app_state: AppState, caller: Caller, case_id: str, *, takeover: bool = False) -> None:
    """Claim a case, or renew one's claim. Raises `CaseClaimed` unless the case is free or taken over."""
    with changing(app_state, caller, case_id, claimed=not takeover) as change:
        _claim(change)


def _claim(change: CaseChange) -> None:
    case, caller = change.case, change.actor
    if not is_claimed(case, change.now) or case.claimed_by != caller.key_id:
        kind = "taken_over" if is_claimed(case, change.now) else "claimed"
        cases.append_event(change.session, case, caller.key_id, kind, change.now)
        audit.record(change.session, case.tenant, caller.key_id, f"case.{kind}", case.id, now=change.now)
    case.claimed_by, case.claimed_until = caller.key_id, claim_end(change.app_state, change.now)


def release(app_state: AppState, caller: Caller, case_id: str) -> None:
    """Give up one's claim. Has no effect on a case that is not claimed."""
    with changing(app_state, caller, case_id) as change:
        if change.case.claimed_by == caller.key_id:
            change.case.claimed_by, change.case.claimed_until = None, None
            cases.append_event(change.session, change.case, caller.key_id, "released", change.now)


def claim_next(app_state: AppState, caller: Caller) -> str | None:
    """Claim the free case that is due first. Returns its id, or None if nothing waits for a person."""
    with app_state.database.write() as session:
        now = app_state.clock()
        case = cases.next_unclaimed(session, caller.tenant, now=now)
        if case is None:
            return None
        _claim(CaseChange(app_state, session, case, caller, now))
        failpoint("case.written")
    failpoint("case.committed")
    return case.id
