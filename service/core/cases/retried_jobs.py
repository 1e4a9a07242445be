"""The retry of a job takes its place in the case that waits for it, so that its outcome is the outcome of the target."""

from sqlalchemy.orm import Session

from api_schemas.cases import CaseState
from api_schemas.cases_requests import DecisionBody
from api_schemas.edits import EditRequest
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import targets
from service.core.cases.change import CaseChange, open_change
from service.errors import WrongCaseState
from service.store import cases
from service.store.cases_orm import CaseTarget
from service.store.orm import Job

EDITED: tuple[CaseState, ...] = ("applying", "at_risk", "in_force", "contested")
"""States of cases whose edits still matter."""


def check(app_state: AppState, session: Session, caller: Caller, failed: Job) -> bool:
    """Return whether a case waits for a job. Raises `WrongCaseState`, `RestoredTooEarly`: it does not want it done any more."""
    found = _find(app_state, session, caller, failed)
    if found:
        change, target = found
        change.require_state(*(EDITED if failed.kind == "removal" else ("contested",)))
        if failed.kind == "revocation":
            if change.case.held:
                raise WrongCaseState(f"{change.case.reference} is on hold.", remedy="End the hold.")
            targets.check_restorable(change, target.overridden_by is not None)
        elif change.case.pending or target.state == "revoked":
            raise WrongCaseState(
                f"{change.case.reference} has another decision for {target.model}.", remedy="Read the case again."
            )
    return found is not None


def replace(app_state: AppState, session: Session, caller: Caller, failed: Job, job: Job) -> None:
    """Let the target that waited for a failed job wait for the one that retries it. Nothing, if there is none."""
    if found := _find(app_state, session, caller, failed):
        change, target = found
        if failed.kind == "revocation":
            target.state, target.revocation_id, target.revoking_at = "revoking", job.id, change.now
            change.note("revocation_queued", f"{target.model}: {job.id}")
        else:
            targets.wait_for_edit(change, target, job)
        change.finish()


def _find(app_state: AppState, session: Session, caller: Caller, failed: Job) -> tuple[CaseChange, CaseTarget] | None:
    """Return the target whose job has failed, with its case, which is locked."""
    row = cases.target_of_job(session, failed) or cases.target_without_edit(session, failed)
    if row is None:
        return None
    change = open_change(app_state, session, caller, row.case_id)
    target = next(one for one in change.case.targets if one.id == row.id)
    session.refresh(target)  # it may have changed until the case was locked
    is_linked = failed.id in (target.edit_id, target.revocation_id)
    return (change, target) if is_linked or _is_its_edit(change, target, failed) else None


def _is_its_edit(change: CaseChange, target: CaseTarget, failed: Job) -> bool:
    """Return whether a job is the edit that a case has decided. A withheld target no longer names one that failed."""
    decision = next(
        (one for one in reversed(cases.decisions(change.session, change.case.id)) if one.action == "erase"), None
    )
    if target.edit_id or failed.kind != "removal" or decision is None or change.case.data_key is None:
        return False
    body = DecisionBody.model_validate_json(change.key.open(decision.sealed))
    return targets.edit_request(change, body, target.model) == EditRequest.model_validate(failed.request)
