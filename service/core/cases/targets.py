"""What decisions do to checkpoints: queue ledger edits, withhold, revoke; and what the outcome of those jobs does to the case.

A target is in force only after an edit that passed its gates. One that did not is `ineffective`, which is never done.
"""

from typing import cast

from api_schemas.cases import TargetState
from api_schemas.cases_requests import DecisionBody
from api_schemas.edits import EditRequest, Priority
from api_schemas.jobs import TERMINAL_STATUSES
from service.core.caller import Caller
from service.core.cases import statements
from service.core.cases.change import CaseChange
from service.core.cases.intake import meet_deadlines, start_deadline
from service.core.edits import check_admission, creation_entry, new_revocation, revocation_entry
from service.core.quotas import JobQuota
from service.errors import InvalidRequest, LedgerConflict, RestoredTooEarly, TooManyJobs, WrongCaseState
from service.store import jobs, ledgers
from service.store.cases_orm import CaseDecision, CaseTarget
from service.store.jobs import NewJob
from service.store.orm import Job

DONE: tuple[TargetState, ...] = ("in_force", "withheld")
FAULTY: tuple[TargetState, ...] = ("ineffective", "conflict")
CONFLICT_CODES = frozenset({"ledger_conflict", "conflict", "contradiction"})
"""Codes of errors with which a worker reports a conflict between removals."""


def plan(change: CaseChange, models: list[str]) -> None:
    """Plan the targets that were restored earlier again."""
    for target in change.case.targets:
        if target.model in models and target.state == "revoked":
            target.state, target.edit_id, target.revocation_id, target.verdict = "planned", None, None, None
            target.restore_not_before, target.revoking_at, target.in_force_at = None, None, None
    change.session.flush()


def edit_request(change: CaseChange, body: DecisionBody, model: str) -> EditRequest:
    """Return the edit that erases what a decision names from a model. Its published files withhold the names."""
    assert body.removal, "set when the decision is proposed"
    return EditRequest(
        model=model,
        removals=[body.removal],
        ledger=True,
        options=body.options,
        validation=body.validation.model_copy(update={"enabled": True}),
        withhold_names=True,
        priority=cast(Priority, change.case.priority),
        metadata={"case": change.case.reference},
    )


def queue_edits(change: CaseChange, decision: CaseDecision, body: DecisionBody) -> None:
    """Queue an edit for each target that needs one. A full job quota leaves targets planned, to be queued later."""
    quota = JobQuota(change.session, change.app_state.settings)
    for target in change.case.targets:
        if target.state == "withheld" and target.verdict == "passed":  # it was in force before it was withheld
            target.state, target.withheld_at = "in_force", None
            change.note("in_force", target.model)
        waits_withheld = target.state == "withheld" and (target.edit_id is None or target.verdict is not None)
        if target.model in body.models and (target.state in ("planned", *FAULTY) or waits_withheld):
            _queue_edit(change, decision, target, edit_request(change, body, target.model), quota)


def _queue_edit(
    change: CaseChange, decision: CaseDecision, target: CaseTarget, request: EditRequest, quota: JobQuota
) -> None:
    """Queue the edit of one target, or record why it cannot be made."""
    owner = Caller(decision.by, change.case.tenant, frozenset())
    try:
        check_admission(change.session, quota, request, owner)
    except TooManyJobs:
        return
    except (LedgerConflict, InvalidRequest) as error:
        if target.state in ("planned", "ineffective"):
            target.state = "conflict"
            change.note("conflict", f"{target.model}: {error.message}")
        return
    job = jobs.create(change.session, NewJob(request, decision.by, change.case.tenant), now=change.now)
    change.audit_entries.append(creation_entry(job))
    wait_for_edit(change, target, job)


def wait_for_edit(change: CaseChange, target: CaseTarget, job: Job) -> None:
    """Make an edit the one that a target waits for. A withheld target stays withheld until it passes."""
    target.edit_id, target.verdict, target.revision = job.id, None, None
    if target.state != "withheld":
        target.state = "queued"
    change.note("edit_queued", f"{target.model}: {job.id}")


def withhold(change: CaseChange, models: list[str]) -> None:
    """Stop serving the models. Edits that are running go on, and end the withholding if they pass."""
    for target in change.case.targets:
        if target.model in models and target.state not in ("withheld", "revoking"):
            if target.state == "revoked":
                plan(change, [target.model])
            target.state, target.withheld_at = "withheld", change.now
            change.note("withheld", target.model)


def record_outcomes(change: CaseChange) -> None:
    """Move the targets whose edit or revocation has ended, and the case with them."""
    for target in change.case.targets:
        job_id = target.revocation_id if target.state == "revoking" else target.edit_id
        job = jobs.get(change.session, job_id) if job_id else None
        if job is None or job.status not in TERMINAL_STATUSES:
            continue
        if target.state == "revoking":
            _record_revocation(change, target, job)
        elif target.state == "queued" or _has_running_edit(target):
            _record_edit(change, target, job)
            if change.case.state == "in_force" and target.state == "in_force":  # it was withheld until now
                statements.issue(change)
    settle(change)


def _record_edit(change: CaseChange, target: CaseTarget, job: Job) -> None:
    revision = ledgers.revision_of_job(change.session, job.id)
    target.revision = revision.number if revision else None
    target.verdict = job.verdict
    if job.status == "succeeded" and job.verdict == "passed":
        target.state, target.in_force_at, target.withheld_at = "in_force", change.now, None
    elif target.state == "queued":
        failed = (job.error or {}).get("code")
        target.state = "conflict" if failed in CONFLICT_CODES else "ineffective"
    elif job.verdict is None:
        target.edit_id = None
    change.note(target.state if target.state != "withheld" else "ineffective", f"{target.model}: {job.id}")


def _record_revocation(change: CaseChange, target: CaseTarget, job: Job) -> None:
    if job.status == "succeeded":
        target.state = "revoked"
        change.note("revoked", target.model)
    else:
        target.state = "in_force" if target.verdict == "passed" else "ineffective"
        change.note("revocation_failed", f"{target.model}: {job.id}")


def settle(change: CaseChange) -> None:
    """Move a case whose targets are all done to `in_force` with its statement, or one with a faulty target to `at_risk`."""
    case = change.case
    if case.state in ("applying", "at_risk") and case.targets:
        if all(_is_done(change, target) for target in case.targets):
            _put_in_force(change)
        elif case.state == "applying" and any(target.state in FAULTY for target in case.targets):
            change.move("at_risk", detail="a target is ineffective or in conflict")
    if case.state == "contested" and case.targets and all(target.state == "revoked" for target in case.targets):
        case.no_statement_reason = case.no_statement_reason or "restored before the decision was in force"
        meet_deadlines(change, "restore_not_before", "restore_not_after")
        change.move("restored")


def _is_done(change: CaseChange, target: CaseTarget) -> bool:
    """Return whether a target is in force, or withheld with nothing better to wait for."""
    decision = change.last_decision
    waits = decision is not None and decision.action == "erase" and _has_running_edit(target)
    return target.state in DONE and not waits


def _put_in_force(change: CaseChange) -> None:
    statements.issue(change)
    meet_deadlines(change, "action")
    change.move("in_force")
    open_windows(change)


def open_windows(change: CaseChange) -> None:
    """Start the complaint windows, unless they run already."""
    for basis in change.case.bases:
        running = any(one.kind == "complaint_window" and one.basis == basis for one in change.case.deadlines)
        if not running:
            start_deadline(change, basis, "complaint_window", change.now)


def refuse(change: CaseChange, decision: CaseDecision) -> None:
    """Refuse the notice: the notifier gets a statement, and the complaint window opens."""
    statements.issue(change)
    meet_deadlines(change, "action")
    change.move("refused")
    open_windows(change)


def running_models(change: CaseChange) -> list[str]:
    """Return the models whose edit has not ended."""
    return [target.model for target in change.case.targets if target.state == "queued" or _has_running_edit(target)]


def _has_running_edit(target: CaseTarget) -> bool:
    """Return whether the edit of a withheld target may still pass."""
    return target.state == "withheld" and target.edit_id is not None and target.verdict is None


def check_restorable(change: CaseChange, override: bool) -> None:
    """Raise `RestoredTooEarly` or `WrongCaseState` unless every target can be restored now."""
    if running := running_models(change):
        raise WrongCaseState(
            f"The edits of {', '.join(running)} have not ended.", remedy="Cancel them, or wait until they have."
        )
    times = [target.restore_not_before for target in change.case.targets if target.restore_not_before]
    if times and change.now < max(times) and not override:
        raise RestoredTooEarly(
            f"Nothing may be restored before {max(times):%Y-%m-%d %H:%M} UTC.",
            remedy="Wait, or override with a reason, which needs the scope cases:operate.",
        )


def restore(change: CaseChange, *, override: bool = False) -> None:
    """Revoke the edit of each target, and serve withheld models again."""
    check_restorable(change, override)
    for target in change.case.targets:
        if target.state in ("revoking", "revoked"):
            continue
        target.revoking_at = change.now
        if override and target.restore_not_before and change.now < target.restore_not_before:
            target.overridden_by = change.actor.key_id
        entries = ledgers.entries_of_job(change.session, target.edit_id) if target.edit_id else []
        target.withheld_at = None
        if any(entry.until is None for entry in entries):
            _queue_revocation(change, target)
        else:
            target.state = "revoked"
            change.note("revoked", target.model)
    change.session.flush()
    settle(change)


def _queue_revocation(change: CaseChange, target: CaseTarget) -> None:
    assert target.edit_id, "the target has ledger entries"
    edit = change.session.get_one(Job, target.edit_id)
    job = jobs.revocation_of(change.session, edit.id)
    if job is None:
        job = jobs.create(change.session, new_revocation(edit, edit.api_key_id), now=change.now)
        change.audit_entries.append(revocation_entry(job, change.actor.key_id))
    target.state, target.revocation_id = "revoking", job.id
    change.note("revocation_queued", f"{target.model}: {job.id}")
