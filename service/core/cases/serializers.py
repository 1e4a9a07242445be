"""Convert rows of cases to API resources."""

from datetime import datetime
from typing import Any

from api_schemas import cases as wire
from api_schemas.cases_requests import Complaint, CounterNotice, DecisionBody, Notice
from api_schemas.cases_statements import CaseStatement
from service.core.cases.change import CaseChange, is_claimed
from service.store import cases as store
from service.store import cases_orm as orm
from service.store.cases_orm import NEVER


def case(row: orm.Case, now: datetime) -> wire.Case:
    """Return a case without its personal data."""
    claim = wire.CaseClaim(by=row.claimed_by or "", until=row.claimed_until or now) if is_claimed(row, now) else None
    return wire.Case(
        id=row.id,
        reference=row.reference,
        bases=row.bases,
        state=row.state,
        priority=row.priority,
        territories=row.territories,
        source=row.source,
        received_at=row.received_at,
        complete_at=row.complete_at,
        missing=row.missing,
        assignee=row.assignee,
        claim=claim,
        version=row.version,
        due_at=None if row.due_at == NEVER else row.due_at,
        overdue=row.due_at <= now,
        targets=[target(one) for one in row.targets],
        deadlines=[deadline(one) for one in row.deadlines],
        pending_decision=_pending(row.pending, row.pending_until) if row.pending else None,
        duplicate_of=row.duplicate_of,
        automated_detection=row.automated_detection,
        automated_decision=row.automated_decision,
        held=row.held,
        created_at=row.created_at,
        retain_until=row.retain_until,
        erased_at=row.erased_at,
        urls=_urls(row.id),
    )


def _urls(case_id: str) -> wire.CaseUrls:
    base = f"/v1/cases/{case_id}"
    return wire.CaseUrls(
        self=base, **{part: f"{base}/{part}" for part in ("events", "decisions", "personal_data", "statement")}
    )


def _pending(pending: dict[str, Any], applies_at: datetime | None) -> wire.PendingDecision:
    return wire.PendingDecision(
        id=pending["id"],
        action=pending["action"],
        by=pending["by"],
        at=datetime.fromisoformat(pending["at"]),
        approved_by=pending["approved_by"],
        awaits_approval=applies_at is None,
        applies_at=applies_at,
    )


def target(row: orm.CaseTarget) -> wire.CaseTarget:
    """Return a target."""
    return wire.CaseTarget(
        id=row.id,
        model=row.model,
        state=row.state,
        edit=row.edit_id,
        revocation=row.revocation_id,
        revision=row.revision,
        verdict=row.verdict,
        in_force_at=row.in_force_at,
        withheld_at=row.withheld_at,
        restore_not_before=row.restore_not_before,
    )


def deadline(row: orm.CaseDeadline) -> wire.CaseDeadline:
    """Return a deadline with its status. One that was met late is missed."""
    status = "missed" if row.missed_at else "met" if row.met_at else "running"
    fields = {name: getattr(row, name) for name in wire.CaseDeadline.model_fields if name != "status"}
    return wire.CaseDeadline.model_validate(fields | {"status": status})


def decision(row: orm.CaseDecision) -> wire.CaseDecision:
    """Return a decision without its facts."""
    fields = {name: getattr(row, name) for name in wire.CaseDecision.model_fields if name not in ("object", "case")}
    return wire.CaseDecision.model_validate(fields | {"case": row.case_id})


def event(row: orm.CaseEvent) -> wire.CaseEvent:
    """Return an event without its detail."""
    return wire.CaseEvent.model_validate(row, from_attributes=True)


def statement(row: orm.CaseStatement) -> CaseStatement:
    """Return a statement."""
    return CaseStatement.model_validate(row.content)


def personal_data(change: CaseChange) -> wire.PersonalData:
    """Return everything that is sealed in a case. Raises `CaseErased`, `SecretsKeyError`."""
    key, session, case_id = change.key, change.session, change.case.id
    bodies = {
        row.id: DecisionBody.model_validate_json(key.open(row.sealed)) for row in store.decisions(session, case_id)
    }
    if pending := change.case.pending:
        bodies[pending["id"]] = DecisionBody.model_validate_json(key.open(pending["sealed"]))
    contests = store.contests(session, case_id)
    history = store.events(session, case_id, after=0, limit=10_000)
    return wire.PersonalData(
        case=case_id,
        notice=Notice.model_validate_json(key.open(change.case.sealed_notice)),
        facts={name: body.facts for name, body in bodies.items() if body.facts},
        counter_notices={
            row.id: CounterNotice.model_validate_json(key.open(row.sealed))
            for row in contests
            if row.kind == "counter_notice"
        },
        complaints={
            row.id: Complaint.model_validate_json(key.open(row.sealed)) for row in contests if row.kind == "complaint"
        },
        details={str(row.seq): key.open(row.sealed) for row in history if row.sealed},
    )
