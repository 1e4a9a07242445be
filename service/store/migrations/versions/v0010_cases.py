"""Add takedown cases.

Triggers and constraints enforce what must hold whatever the code does: the transitions of a case and of its targets,
decisions and statements that never change, deadlines that are never lost, no case in force with a target that is not, no
restoration before its time, and no second key for an erased case.
"""

import sqlalchemy as sa
from alembic import op

from service.store.migrations.triggers import allow, forbid, forbid_if

revision = "0010"
down_revision = "0009"
branch_labels = depends_on = None

STATEMENT_GIVEN = "state NOT IN ('in_force', 'restored') OR statement_id IS NOT NULL OR no_statement_reason IS NOT NULL"
DONE_IS_PASSED = "state <> 'in_force' OR (verdict = 'passed' AND in_force_at IS NOT NULL)"
RESTORED_IN_TIME = (
    "state NOT IN ('revoking', 'revoked') OR restore_not_before IS NULL OR overridden_by IS NOT NULL"
    " OR (revoking_at IS NOT NULL AND revoking_at >= restore_not_before)"
)
CASE_TRANSITIONS = {
    "received": ("incomplete", "open", "withdrawn", "void", "merged"),
    "incomplete": ("open", "withdrawn", "void", "merged"),
    "open": ("decided", "withdrawn", "void", "merged"),
    "decided": ("open", "applying", "at_risk", "in_force", "restored", "refused", "withdrawn", "void", "merged"),
    "applying": ("in_force", "at_risk", "decided", "contested"),
    "at_risk": ("in_force", "decided", "contested"),
    "in_force": ("contested", "decided", "closed"),
    "contested": ("in_force", "at_risk", "restored", "refused", "open"),
    "refused": ("contested", "closed"),
    "restored": ("contested", "closed", "decided"),
}
TARGET_TRANSITIONS = {
    "planned": ("queued", "conflict", "withheld", "revoked"),
    "queued": ("in_force", "ineffective", "conflict", "withheld"),
    "ineffective": ("queued", "conflict", "withheld", "revoking", "revoked"),
    "conflict": ("queued", "withheld", "revoked"),
    "withheld": ("in_force", "revoking", "revoked"),
    "in_force": ("withheld", "revoking"),
    "revoking": ("revoked", "in_force", "ineffective"),
    "revoked": ("planned",),
}


def _outside(transitions: dict[str, tuple[str, ...]]) -> str:
    """Return the condition that a change of state is none of the transitions."""
    pairs = ", ".join(f"'{old}>{new}'" for old, after in transitions.items() for new in after)
    return f"OLD.state <> NEW.state AND OLD.state || '>' || NEW.state NOT IN ({pairs})"


FIXED = "OLD.id <> NEW.id OR OLD.kind <> NEW.kind OR OLD.rule <> NEW.rule OR OLD.started_at <> NEW.started_at"
FORBIDDEN: list[tuple[str, str, str, str, str]] = [
    *(
        (f"{table}_no_{operation.lower()}", operation, table, message, "TRUE")
        for table, operations, message in (
            ("case_decisions", ("UPDATE", "DELETE"), "a decision never changes"),
            ("case_statements", ("UPDATE", "DELETE"), "a statement never changes"),
            ("case_events", ("UPDATE", "DELETE"), "the history of a case never changes"),
            ("case_deadlines", ("DELETE",), "a deadline is never deleted"),
            ("cases", ("DELETE",), "a case is never deleted"),
            ("case_targets", ("DELETE",), "a target is never deleted"),
        )
        for operation in operations
    ),
    ("cases_transitions", "UPDATE", "cases", "the case has no such transition", _outside(CASE_TRANSITIONS)),
    (
        "targets_transitions",
        "UPDATE",
        "case_targets",
        "the target has no such transition",
        _outside(TARGET_TRANSITIONS),
    ),
    (
        "cases_stay_erased",
        "UPDATE",
        "cases",
        "an erased case has no key",
        "OLD.data_key IS NULL AND NEW.data_key IS NOT NULL",
    ),
    ("deadlines_fixed", "UPDATE", "case_deadlines", "a deadline is met, extended or missed", FIXED),
    (
        "deadlines_extended_with_reason",
        "UPDATE",
        "case_deadlines",
        "extending a deadline needs a reason",
        "OLD.due_at <> NEW.due_at AND (NEW.reason IS NULL OR NEW.extended_at IS NULL)",
    ),
    (
        "deadlines_end_once",
        "UPDATE",
        "case_deadlines",
        "a deadline ends once",
        "(OLD.met_at IS NOT NULL AND NEW.met_at IS NULL) OR (OLD.missed_at IS NOT NULL AND NEW.missed_at IS NULL)",
    ),
]
UNFINISHED = "SELECT 1 FROM case_targets WHERE case_id = NEW.id AND state NOT IN ('in_force', 'withheld')"
NO_TARGETS = "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM case_targets WHERE case_id = NEW.id)"
NOT_RESTORED = "SELECT 1 FROM case_targets WHERE case_id = NEW.id AND state <> 'revoked'"
ENTERS = "NEW.state = '{0}' AND OLD.state <> '{0}'"
FORBIDDEN_IF = [
    ("cases_in_force_when_done", UNFINISHED, "a target is neither in force nor withheld", ENTERS.format("in_force")),
    ("cases_in_force_have_targets", NO_TARGETS, "the case has no targets", ENTERS.format("in_force")),
    ("cases_restored_when_done", NOT_RESTORED, "a target is not restored", ENTERS.format("restored")),
]


def upgrade() -> None:
    """Upgrade."""
    op.create_table(
        "case_desks",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("index_key", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_case_desks")),
    )
    op.create_table(
        "cases",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("bases", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("priority", sa.String(), nullable=False),
        sa.Column("territories", sa.JSON(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("complete_at", sa.DateTime(), nullable=True),
        sa.Column("missing", sa.JSON(), nullable=False),
        sa.Column("assignee", sa.String(), nullable=True),
        sa.Column("claimed_by", sa.String(), nullable=True),
        sa.Column("claimed_until", sa.DateTime(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("duplicate_of", sa.String(), nullable=True),
        sa.Column("automated_detection", sa.Boolean(), nullable=False),
        sa.Column("automated_decision", sa.Boolean(), nullable=False),
        sa.Column("held", sa.Boolean(), nullable=False),
        sa.Column("pending", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("pending_until", sa.DateTime(), nullable=True),
        sa.Column("contested_from", sa.String(), nullable=True),
        sa.Column("statement_id", sa.String(), nullable=True),
        sa.Column("no_statement_reason", sa.String(), nullable=True),
        sa.Column("created_by", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("retain_until", sa.DateTime(), nullable=True),
        sa.Column("erased_at", sa.DateTime(), nullable=True),
        sa.Column("data_key", sa.String(), nullable=True),
        sa.Column("sealed_notice", sa.String(), nullable=False),
        sa.CheckConstraint(
            STATEMENT_GIVEN,
            name="ck_cases_statement_given",
        ),
        sa.ForeignKeyConstraint(["duplicate_of"], ["cases.id"], name=op.f("fk_cases_duplicate_of_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cases")),
        sa.UniqueConstraint("tenant", "reference", name=op.f("uq_cases_tenant_reference")),
    )
    with op.batch_alter_table("cases", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_cases_pending_until"), ["pending_until"], unique=False)
        batch_op.create_index(batch_op.f("ix_cases_state"), ["state"], unique=False)
        batch_op.create_index("ix_cases_tenant_due_at", ["tenant", "due_at", "id"], unique=False)

    op.create_table(
        "case_contests",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("received_at", sa.DateTime(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=True),
        sa.Column("sealed", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_contests_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_contests")),
    )
    with op.batch_alter_table("case_contests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_contests_case_id"), ["case_id"], unique=False)

    op.create_table(
        "case_deadlines",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("basis", sa.String(), nullable=False),
        sa.Column("rule", sa.String(), nullable=False),
        sa.Column("rule_version", sa.String(), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("met_at", sa.DateTime(), nullable=True),
        sa.Column("missed_at", sa.DateTime(), nullable=True),
        sa.Column("extended_at", sa.DateTime(), nullable=True),
        sa.Column("reason", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_deadlines_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_deadlines")),
    )
    with op.batch_alter_table("case_deadlines", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_deadlines_case_id"), ["case_id"], unique=False)
        batch_op.create_index("ix_case_deadlines_due_at_met_at", ["due_at", "met_at"], unique=False)

    op.create_table(
        "case_decisions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("ground", sa.String(), nullable=False),
        sa.Column("template", sa.String(), nullable=False),
        sa.Column("template_version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("language", sa.String(), nullable=False),
        sa.Column("models", sa.JSON(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("approved_by", sa.String(), nullable=True),
        sa.Column("decided_at", sa.DateTime(), nullable=False),
        sa.Column("applied_at", sa.DateTime(), nullable=False),
        sa.Column("supersedes", sa.String(), nullable=True),
        sa.Column("sealed", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_decisions_case_id_cases")),
        sa.ForeignKeyConstraint(
            ["supersedes"], ["case_decisions.id"], name=op.f("fk_case_decisions_supersedes_case_decisions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_decisions")),
        sa.UniqueConstraint("case_id", "seq", name=op.f("uq_case_decisions_case_id_seq")),
    )
    op.create_table(
        "case_events",
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("from_state", sa.String(), nullable=True),
        sa.Column("to_state", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_events_case_id_cases")),
        sa.PrimaryKeyConstraint("case_id", "seq", name=op.f("pk_case_events")),
    )
    op.create_table(
        "case_names",
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_names_case_id_cases")),
        sa.PrimaryKeyConstraint("case_id", "digest", name=op.f("pk_case_names")),
    )
    with op.batch_alter_table("case_names", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_names_digest"), ["digest"], unique=False)

    op.create_table(
        "case_targets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("edit_id", sa.String(), nullable=True),
        sa.Column("revocation_id", sa.String(), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=True),
        sa.Column("verdict", sa.String(), nullable=True),
        sa.Column("in_force_at", sa.DateTime(), nullable=True),
        sa.Column("withheld_at", sa.DateTime(), nullable=True),
        sa.Column("restore_not_before", sa.DateTime(), nullable=True),
        sa.Column("revoking_at", sa.DateTime(), nullable=True),
        sa.Column("overridden_by", sa.String(), nullable=True),
        sa.CheckConstraint(
            DONE_IS_PASSED,
            name="ck_case_targets_done_is_passed",
        ),
        sa.CheckConstraint(
            RESTORED_IN_TIME,
            name="ck_case_targets_restored_in_time",
        ),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_targets_case_id_cases")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_targets")),
        sa.UniqueConstraint("case_id", "model", name=op.f("uq_case_targets_case_id_model")),
    )
    with op.batch_alter_table("case_targets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_targets_edit_id"), ["edit_id"], unique=False)
        batch_op.create_index("ix_case_targets_state", ["state"], unique=False)
        batch_op.create_index("ix_case_targets_tenant_model_state", ["tenant", "model", "state"], unique=False)

    op.create_table(
        "case_statements",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("case_id", sa.String(), nullable=False),
        sa.Column("decision_id", sa.String(), nullable=False),
        sa.Column("sent_at", sa.DateTime(), nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name=op.f("fk_case_statements_case_id_cases")),
        sa.ForeignKeyConstraint(
            ["decision_id"], ["case_decisions.id"], name=op.f("fk_case_statements_decision_id_case_decisions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case_statements")),
    )
    with op.batch_alter_table("case_statements", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_case_statements_case_id"), ["case_id"], unique=False)

    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("case_id", sa.String(), nullable=True))
        batch_op.create_foreign_key(batch_op.f("fk_webhook_deliveries_case_id_cases"), "cases", ["case_id"], ["id"])

    for name, operation, table, message, when in FORBIDDEN:
        forbid(name, operation, table, message, when=when)
    for name, query, message, when in FORBIDDEN_IF:
        forbid_if(name, "cases", query, message, when=when)


def downgrade() -> None:
    """Downgrade: delete all cases, which earlier versions cannot read."""
    op.execute("DELETE FROM webhook_deliveries WHERE case_id IS NOT NULL")
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_webhook_deliveries_case_id_cases"), type_="foreignkey")
        batch_op.drop_column("case_id")
    for name, _, table, *_ in FORBIDDEN:
        allow(name, table)
    for name, *_ in FORBIDDEN_IF:
        allow(name, "cases")
    for table in ("statements", "targets", "names", "events", "decisions", "deadlines", "contests"):
        op.drop_table(f"case_{table}")
    op.drop_table("cases")
    op.drop_table("case_desks")
