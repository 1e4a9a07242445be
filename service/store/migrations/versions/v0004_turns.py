"""Index the start of jobs by tenant, which decides whose turn it is."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.create_index("ix_jobs_tenant_started_at", "jobs", ["tenant", "started_at"], unique=False)


def downgrade() -> None:
    """Downgrade."""
    op.drop_index("ix_jobs_tenant_started_at", table_name="jobs")
