"""Decisions: proposed, approved by a second person where a basis asks for it, and applied when they can no longer be undone.

Until it is applied, a decision is a sealed part of its case and can be undone. Then it becomes a row that never changes.
"""

from datetime import datetime, timedelta
from typing import Any

from api_schemas.cases import CaseState
from api_schemas.cases_requests import DecisionBody, DecisionRequest, Notice
from api_schemas.edits import Removal
from api_schemas.problems import invalid_field
from service.core.app_state import AppState
from service.core.caller import Caller
from service.core.cases import targets
from service.core.cases.change import CaseChange, changing
from service.core.cases.intake import add_targets
from service.core.edits import check_request
from service.errors import Forbidden, InvalidRequest, WrongCaseState
from service.store.cases_orm import CaseDecision
from service.store.ids import prefixed_id

DECIDABLE: tuple[CaseState, ...] = ("open", "applying", "at_risk", "in_force", "restored")
MEASURES = ("erase", "withhold")


def decide(app_state: AppState, caller: Caller, case_id: str, request: DecisionRequest) -> None:
    """Propose a decision. It takes effect after the time in which it can be undone, once everybody has agreed to it."""
    body = DecisionBody.model_validate(request.model_dump(exclude={"version"}))
    with changing(app_state, caller, case_id, request.version, DECIDABLE) as change:
        propose(change, body)


def propose(change: CaseChange, body: DecisionBody) -> None:
    """Check a decision and store it with its case. Raises `InvalidRequest`, `UnknownModel`, `WrongCaseState`."""
    case = change.case
    if case.pending:
        raise WrongCaseState(f"{case.reference} has a decision already.", remedy="Undo it first.")
    template, reason = change.rules.reason(body)
    models = body.models or [target.model for target in case.targets]
    if body.action in MEASURES:
        _check_models(models)
        for model in models:
            change.app_state.registry.get(model)
    else:
        _check_nothing_applies(change)
    if body.action == "erase":
        body = body.model_copy(update={"removal": body.removal or _removal_of_notice(change)})
        for model in models:
            check_request(change.app_state, targets.edit_request(change, body, model))
    body = body.model_copy(update={"models": models})
    case.pending = {
        "id": prefixed_id("dec", change.now),
        "action": body.action,
        "by": change.actor.key_id,
        "at": change.now.isoformat(),
        "approved_by": None,
        "from": case.state,
        "reason": reason,
        "template_version": template.version,
        "language": template.language,
        "sealed": change.key.seal(body.model_dump_json()),
    }
    if change.rules.reviewers(case.bases) > 1:
        change.note("proposed")
    else:
        _schedule(change)


def _check_models(models: list[str]) -> None:
    if not models:
        error = invalid_field(("models",), code="no_models", message="is empty", remedy="Name the models to act on.")
        raise InvalidRequest("The decision names no model, and neither does the case.", errors=[error])


def _check_nothing_applies(change: CaseChange) -> None:
    """A case whose targets are edited or withheld is restored, not refused."""
    if busy := [
        target.model for target in change.case.targets if target.state not in ("planned", "conflict", "revoked")
    ]:
        raise WrongCaseState(
            f"{change.case.reference} already restricts {', '.join(busy)}.", remedy="Restore the models instead."
        )


def _removal_of_notice(change: CaseChange) -> Removal:
    notice = Notice.model_validate_json(change.key.open(change.case.sealed_notice))
    if notice.concept is None:
        error = invalid_field(
            ("removal",), code="no_concept", message="is missing", remedy="Send the concept to remove."
        )
        raise InvalidRequest("Neither the decision nor the notice names a concept.", errors=[error])
    aliases = [alias for alias in notice.aliases if alias.casefold() != notice.concept.casefold()]
    return Removal(concept=notice.concept, kind=notice.kind, aliases=aliases)


def _schedule(change: CaseChange) -> None:
    """Put the decision into the outbox."""
    change.case.pending_until = change.now + timedelta(seconds=change.app_state.settings.case_undo_seconds)
    change.move("decided")


def approve(app_state: AppState, caller: Caller, case_id: str, version: int) -> None:
    """Agree to a decision as the second person. Raises `Forbidden` for the person who proposed it."""
    with changing(app_state, caller, case_id, version, DECIDABLE, claimed=False) as change:
        pending = change.case.pending
        if pending is None or change.case.pending_until is not None:
            raise WrongCaseState(f"{change.case.reference} has no decision that waits for approval.")
        if pending["by"] == caller.key_id:
            raise Forbidden("The person who proposed a decision cannot approve it.", remedy="Ask somebody else.")
        change.case.pending = pending | {"approved_by": caller.key_id}
        change.note("approved")
        _schedule(change)


def undo(app_state: AppState, caller: Caller, case_id: str, version: int) -> None:
    """Take back a decision that has not been applied."""
    with changing(app_state, caller, case_id, version, claimed=False) as change:
        pending = change.case.pending
        if pending is None:
            raise WrongCaseState(
                f"{change.case.reference} has no decision that can be undone.",
                remedy="A decision that took effect is corrected by another decision.",
            )
        clear_pending(change)
        if change.case.state == "decided":
            change.move(pending["from"], "undone")
            targets.settle(change)
        else:
            change.note("undone")


def clear_pending(change: CaseChange) -> dict[str, Any]:
    """Take the decision out of the outbox and return it."""
    pending = change.case.pending
    assert pending, "callers check"
    change.case.pending, change.case.pending_until = None, None
    return pending


def apply(change: CaseChange) -> None:
    """Make the decision of a case final and act on it, in one transaction with the edits that it queues."""
    pending = clear_pending(change)
    body = DecisionBody.model_validate_json(change.key.open(pending["sealed"]))
    decision = _insert_decision(change, pending, body)
    change.case.automated_decision = body.automated
    change.note("applied")
    if body.action in MEASURES:
        add_targets(change.session, change.case, body.models, change.now)
        change.move("applying")
        if body.action == "erase":
            targets.plan(change, body.models)
            targets.queue_edits(change, decision, body)
        else:
            targets.withhold(change, body.models)
        targets.settle(change)
    else:
        targets.refuse(change, decision)


def _insert_decision(change: CaseChange, pending: dict[str, Any], body: DecisionBody) -> CaseDecision:
    last = change.last_decision
    decision = CaseDecision(
        id=pending["id"],
        case_id=change.case.id,
        seq=last.seq + 1 if last else 1,
        action=body.action,
        ground=body.ground,
        template=body.template,
        template_version=pending["template_version"],
        reason=pending["reason"],
        language=pending["language"],
        models=body.models,
        by=pending["by"],
        approved_by=pending["approved_by"],
        decided_at=datetime.fromisoformat(pending["at"]),
        applied_at=change.now,
        supersedes=last.id if last else None,
        sealed=pending["sealed"],
    )
    change.session.add(decision)
    change.session.flush()
    return decision
