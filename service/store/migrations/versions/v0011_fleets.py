"""Add fleets and their targets."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.create_table(
        "fleets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("api_key_id", sa.String(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("request_digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=True),
        sa.Column("statement_job_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fleets")),
    )
    for column in ("tenant", "finished_at"):
        op.create_index(op.f(f"ix_fleets_{column}"), "fleets", [column], unique=False)
    op.create_table(
        "fleet_targets",
        sa.Column("fleet_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("group_key", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("edit_id", sa.String(), nullable=True),
        sa.Column("carried_from", sa.String(), nullable=True),
        sa.Column("error", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["edit_id"], ["jobs.id"], name=op.f("fk_fleet_targets_edit_id_jobs")),
        sa.ForeignKeyConstraint(["fleet_id"], ["fleets.id"], name=op.f("fk_fleet_targets_fleet_id_fleets")),
        sa.PrimaryKeyConstraint("fleet_id", "model", name=op.f("pk_fleet_targets")),
    )
    op.create_index(op.f("ix_fleet_targets_edit_id"), "fleet_targets", ["edit_id"], unique=False)


def downgrade() -> None:
    """Downgrade: edits of fleets stay, and the jobs that signed statements are deleted."""
    op.drop_table("fleet_targets")
    op.drop_table("fleets")
    for table in ("artifacts", "events", "attempts", "outbox"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM jobs WHERE kind = 'statement')")
    op.execute("DELETE FROM jobs WHERE kind = 'statement'")
