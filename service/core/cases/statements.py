"""Statements of reasons: what was decided and why, without personal data, also in the form of the DSA transparency database."""

from datetime import date

from api_schemas.cases_statements import CaseStatement, DsaStatement, SourceType
from service.core.cases.change import CaseChange
from service.store.cases_orm import CaseDecision, CaseTarget
from service.store.cases_orm import CaseStatement as StatementRow
from service.store.ids import prefixed_id
from service.store.orm import ModelRegistration

CONTENT_TYPE = "Weights of a text-to-image model"
EDITED = "A concept was removed from the weights of the model; everything else of the model stays available."
SOURCE_TYPES: dict[str, SourceType] = {
    "art16": "SOURCE_ARTICLE_16",
    "trusted_flagger": "SOURCE_TRUSTED_FLAGGER",
    "order": "SOURCE_TYPE_OTHER_NOTIFICATION",
    "subject": "SOURCE_TYPE_OTHER_NOTIFICATION",
    "own": "SOURCE_VOLUNTARY",
}
EFFECTS = {"in_force": "{model}: the concept was removed, revision {revision}", "withheld": "{model}: not served"}


def issue(change: CaseChange) -> None:
    """Issue the statement of the decision that applies, or record why none is due."""
    case, decision = change.case, change.last_decision
    assert decision, "a decision was applied"
    if not any(change.rules.basis(name).statement for name in case.bases):
        case.no_statement_reason = f"the basis {', '.join(case.bases)} asks for none"
        change.note("no_statement")
        return
    statement = _build(change, decision)
    change.session.add(
        StatementRow(
            id=statement.id,
            case_id=case.id,
            decision_id=decision.id,
            sent_at=change.now,
            content=statement.model_dump(mode="json"),
        )
    )
    change.session.flush()
    case.statement_id, case.no_statement_reason = statement.id, None
    change.note("statement")


def _build(change: CaseChange, decision: CaseDecision) -> CaseStatement:
    statement_id = prefixed_id("stm", change.now)
    puid = f"expunge-{statement_id}"
    restricted = [target for target in change.case.targets if target.state in EFFECTS]
    return CaseStatement(
        id=statement_id,
        case=change.case.id,
        reference=change.case.reference,
        decision=decision.id,
        action=decision.action,
        language=decision.language,
        ground=decision.ground,
        text=decision.reason,
        effects=[EFFECTS[target.state].format(model=target.model, revision=target.revision) for target in restricted],
        redress=change.rules.redress,
        sent_at=change.now,
        puid=puid,
        dsa=_dsa_form(change, decision, restricted, puid) if restricted else None,
    )


def _dsa_form(change: CaseChange, decision: CaseDecision, restricted: list[CaseTarget], puid: str) -> DsaStatement:
    case, basis = change.case, change.rules.basis(change.case.bases[0])
    states = {target.state for target in restricted}
    illegal = basis.dsa.ground == "illegal"
    ground, explanation = decision.ground[:500], decision.reason[:2000]
    return DsaStatement(
        decision_visibility=[
            *(["DECISION_VISIBILITY_OTHER"] if "in_force" in states else []),
            *(["DECISION_VISIBILITY_CONTENT_DISABLED"] if "withheld" in states else []),
        ],
        decision_visibility_other=EDITED if "in_force" in states else None,
        decision_ground="DECISION_GROUND_ILLEGAL_CONTENT" if illegal else "DECISION_GROUND_INCOMPATIBLE_CONTENT",
        illegal_content_legal_ground=ground if illegal else None,
        illegal_content_explanation=explanation if illegal else None,
        incompatible_content_ground=None if illegal else ground,
        incompatible_content_explanation=None if illegal else explanation,
        content_type=["CONTENT_TYPE_OTHER"],
        content_type_other=CONTENT_TYPE,
        category=basis.dsa.category,
        category_specification=basis.dsa.keywords,
        territorial_scope=case.territories,
        content_date=_content_date(change, restricted),
        application_date=change.now.date(),
        decision_facts=f"{_source_sentence(change, basis.law)} {decision.reason}"[:5000],
        source_type=SOURCE_TYPES[case.source],
        automated_detection="Yes" if case.automated_detection else "No",
        automated_decision="AUTOMATED_DECISION_FULLY"
        if case.automated_decision
        else "AUTOMATED_DECISION_NOT_AUTOMATED",
        puid=puid,
    )


def _source_sentence(change: CaseChange, law: str) -> str:
    what = "The matter was taken up" if change.case.source == "own" else "A notice was received"
    return f"{what} on {change.case.received_at:%Y-%m-%d} ({law})."


def _content_date(change: CaseChange, restricted: list[CaseTarget]) -> date:
    """Return when the first of the models was registered; models of the settings have no such date."""
    rows = (change.session.get(ModelRegistration, target.model) for target in restricted)
    return min((row.registered_at for row in rows if row), default=change.case.received_at).date()
