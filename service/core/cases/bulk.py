"""One decision about many cases: a preview for each, then the same again, confirmed by the number that the preview accepted."""

from sqlalchemy.orm import Session

from api_schemas.cases import BulkDecision, BulkOutcome
from api_schemas.cases_requests import BulkDecisionRequest, CaseVersion, DecisionBody
from api_schemas.errors import ExpungeError
from api_schemas.problems import invalid_field
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases.change import open_change
from service.core.cases.decisions import DECIDABLE, propose
from service.errors import CaseChanged, InvalidRequest
from service.store import cases
from service.store.errors import StoreUnavailable
from service.store.failpoints import failpoint


class _Rollback(Exception):
    """Ends the transaction of a preview without a change."""


def decide_all(app_state: AppState, caller: Caller, request: BulkDecisionRequest) -> BulkDecision:
    """Propose a decision for each case, or preview it. Raises `CaseChanged` if another number of cases accepts it."""
    if len({one.case for one in request.cases}) < len(request.cases):
        error = invalid_field(("cases",), code="duplicate", message="names a case twice", remedy="Name each once.")
        raise InvalidRequest("A case is named twice.", errors=[error])
    outcomes: list[BulkOutcome] = []
    try:
        with app_state.database.write() as session:
            outcomes = [_decide(app_state, session, caller, one, request.decision) for one in request.cases]
            if request.count is None:
                raise _Rollback
            _check_count(outcomes, request.count)
            failpoint("case.written")
        failpoint("case.committed")
    except _Rollback:
        pass
    return BulkDecision(preview=request.count is None, count=_count(outcomes), outcomes=outcomes)


def _decide(app_state: AppState, session: Session, caller: Caller, one: CaseVersion, body: DecisionBody) -> BulkOutcome:
    """Propose the decision for one case in a savepoint, so that a refusal does not affect the others."""
    case = cases.get(session, caller.tenant, one.case)
    reference = case.reference if case else None
    try:
        with session.begin_nested():
            change = open_change(app_state, session, caller, one.case)
            change.require_version(one.version)
            change.require_unclaimed()
            change.require_state(*DECIDABLE)
            propose(change, body)
            change.finish()
    except StoreUnavailable:
        raise
    except ExpungeError as error:
        return BulkOutcome(case=one.case, reference=reference, accepted=False, code=error.code, message=error.message)
    return BulkOutcome(case=one.case, reference=reference, accepted=True, code=None, message=None)


def _count(outcomes: list[BulkOutcome]) -> int:
    return sum(one.accepted for one in outcomes)


def _check_count(outcomes: list[BulkOutcome], expected: int) -> None:
    if _count(outcomes) != expected:
        raise CaseChanged(
            f"The decision applies to {_count(outcomes)} cases, and {expected} were confirmed.",
            remedy="Send the request without `count` and confirm the new preview.",
        )
