"""Add the calibrations of base models."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.create_table(
        "calibrations",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=True),
        sa.Column("judge", sa.String(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_calibrations_job_id_jobs")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_calibrations")),
    )
    with op.batch_alter_table("calibrations", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_calibrations_model"), ["model"], unique=False)
        batch_op.create_index(batch_op.f("ix_calibrations_revision"), ["revision"], unique=False)


def downgrade() -> None:
    """Downgrade: delete the calibration jobs, which earlier versions cannot read."""
    op.drop_table("calibrations")
    for table in ("artifacts", "events", "attempts", "outbox"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM jobs WHERE kind = 'calibration')")
    op.execute("DELETE FROM jobs WHERE kind = 'calibration'")
