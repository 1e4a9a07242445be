"""Index jobs for lists by tenant and status, which are ordered by id."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.create_index("ix_jobs_tenant_id", "jobs", ["tenant", "id"])
    op.create_index("ix_jobs_tenant_status_id", "jobs", ["tenant", "status", "id"])
    op.drop_index("ix_jobs_tenant", "jobs")


def downgrade() -> None:
    """Downgrade."""
    op.create_index("ix_jobs_tenant", "jobs", ["tenant"])
    op.drop_index("ix_jobs_tenant_status_id", "jobs")
    op.drop_index("ix_jobs_tenant_id", "jobs")
