"""ORM classes of takedown cases. `sealed` columns are encrypted with the key of the case; a case without a key is erased."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, CheckConstraint, ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.store.orm_base import Base

NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""`due_at` of a case without a running deadline, so that such cases come last."""
STATEMENT_GIVEN = "state NOT IN ('in_force', 'restored') OR statement_id IS NOT NULL OR no_statement_reason IS NOT NULL"
RESTORED_IN_TIME = (
    "state NOT IN ('revoking', 'revoked') OR restore_not_before IS NULL OR overridden_by IS NOT NULL"
    " OR (revoking_at IS NOT NULL AND revoking_at >= restore_not_before)"
)
DONE_IS_PASSED = "state <> 'in_force' OR (verdict = 'passed' AND in_force_at IS NOT NULL)"


class CaseDesk(Base):
    """What the cases of a tenant share: the last number of a reference, and the sealed key of the index of names."""

    __tablename__ = "case_desks"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    last_number: Mapped[int]
    index_key: Mapped[str]


class Case(Base):
    """A takedown case. `version` counts changes. Triggers allow only the transitions of its state machine."""

    __tablename__ = "cases"
    __table_args__ = (
        UniqueConstraint("tenant", "reference"),
        Index("ix_cases_tenant_due_at", "tenant", "due_at", "id"),
        CheckConstraint(STATEMENT_GIVEN, name="ck_cases_statement_given"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    reference: Mapped[str]
    bases: Mapped[list[str]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(index=True)
    priority: Mapped[str]
    territories: Mapped[list[str]] = mapped_column(JSON)
    source: Mapped[str]
    role: Mapped[str]
    received_at: Mapped[datetime]
    complete_at: Mapped[datetime | None]
    missing: Mapped[list[str]] = mapped_column(JSON)
    assignee: Mapped[str | None]
    claimed_by: Mapped[str | None]
    claimed_until: Mapped[datetime | None]
    version: Mapped[int]
    due_at: Mapped[datetime]
    duplicate_of: Mapped[str | None] = mapped_column(ForeignKey("cases.id"))
    automated_detection: Mapped[bool]
    automated_decision: Mapped[bool]
    held: Mapped[bool]
    pending: Mapped[dict[str, Any] | None]
    """A decision that can still be undone. Its content is sealed."""
    pending_until: Mapped[datetime | None] = mapped_column(index=True)
    contested_from: Mapped[str | None]
    statement_id: Mapped[str | None]
    no_statement_reason: Mapped[str | None]
    created_by: Mapped[str]
    created_at: Mapped[datetime]
    retain_until: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    data_key: Mapped[str | None]
    """The data key, sealed with the key of the installation."""
    sealed_notice: Mapped[str]

    targets: Mapped[list["CaseTarget"]] = relationship(order_by="CaseTarget.id", lazy="selectin")
    deadlines: Mapped[list["CaseDeadline"]] = relationship(order_by="CaseDeadline.id", lazy="selectin")


class CaseName(Base):
    """A keyed digest of a name in a sealed notice, by which the case is found."""

    __tablename__ = "case_names"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    digest: Mapped[str] = mapped_column(primary_key=True, index=True)


class CaseTarget(Base):
    """A checkpoint that a case is about. `in_force` is only a passed edit; nothing is restored before its time."""

    __tablename__ = "case_targets"
    __table_args__ = (
        UniqueConstraint("case_id", "model"),
        Index("ix_case_targets_tenant_model_state", "tenant", "model", "state"),
        Index("ix_case_targets_state", "state"),
        CheckConstraint(RESTORED_IN_TIME, name="ck_case_targets_restored_in_time"),
        CheckConstraint(DONE_IS_PASSED, name="ck_case_targets_done_is_passed"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    tenant: Mapped[str]
    model: Mapped[str]
    state: Mapped[str]
    edit_id: Mapped[str | None] = mapped_column(index=True)
    revocation_id: Mapped[str | None]
    revision: Mapped[int | None]
    verdict: Mapped[str | None]
    in_force_at: Mapped[datetime | None]
    withheld_at: Mapped[datetime | None]
    restore_not_before: Mapped[datetime | None]
    revoking_at: Mapped[datetime | None]
    overridden_by: Mapped[str | None]
    """Who restored it before its time; the reason is in the history."""


class CaseDecision(Base):
    """A decision that took effect. Triggers forbid changing or deleting it."""

    __tablename__ = "case_decisions"
    __table_args__ = (UniqueConstraint("case_id", "seq"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    seq: Mapped[int]
    action: Mapped[str]
    ground: Mapped[str]
    template: Mapped[str]
    template_version: Mapped[int]
    reason: Mapped[str]
    language: Mapped[str]
    models: Mapped[list[str]] = mapped_column(JSON)
    by: Mapped[str]
    approved_by: Mapped[str | None]
    decided_at: Mapped[datetime]
    applied_at: Mapped[datetime]
    supersedes: Mapped[str | None] = mapped_column(ForeignKey("case_decisions.id"))
    sealed: Mapped[str]


class CaseStatement(Base):
    """A statement of reasons. It has no personal data, and never changes."""

    __tablename__ = "case_statements"

    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    decision_id: Mapped[str] = mapped_column(ForeignKey("case_decisions.id"))
    sent_at: Mapped[datetime]
    content: Mapped[dict[str, Any]]


class CaseContest(Base):
    """A counter-notice or a complaint."""

    __tablename__ = "case_contests"

    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    kind: Mapped[str]
    received_at: Mapped[datetime]
    resolved_at: Mapped[datetime | None]
    outcome: Mapped[str | None]
    sealed: Mapped[str]


class CaseDeadline(Base):
    """A deadline. Triggers forbid deleting it, or moving it without a reason."""

    __tablename__ = "case_deadlines"
    __table_args__ = (Index("ix_case_deadlines_due_at_met_at", "due_at", "met_at"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    kind: Mapped[str]
    basis: Mapped[str]
    rule: Mapped[str]
    rule_version: Mapped[str]
    started_at: Mapped[datetime]
    due_at: Mapped[datetime]
    met_at: Mapped[datetime | None]
    missed_at: Mapped[datetime | None]
    extended_at: Mapped[datetime | None]
    reason: Mapped[str | None]


class CaseEvent(Base):
    """An event of a case, numbered without gaps. Triggers forbid changing or deleting it."""

    __tablename__ = "case_events"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime]
    actor: Mapped[str]
    kind: Mapped[str]
    from_state: Mapped[str | None]
    to_state: Mapped[str]
    version: Mapped[int]
    sealed: Mapped[str | None]
