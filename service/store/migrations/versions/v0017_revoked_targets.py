"""Find the revocation of an edit quickly, and let fleets record the revocations that were made before."""

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = depends_on = None

REVOKED = (
    "SELECT fleet_targets.fleet_id FROM fleet_targets JOIN jobs ON jobs.revokes = fleet_targets.edit_id "
    "WHERE jobs.status = 'succeeded'"
)


def upgrade() -> None:
    """Upgrade: fleets with a revoked edit take another step, which ends in a new statement."""
    op.create_index("ix_jobs_revokes", "jobs", ["revokes"])
    op.execute(f"UPDATE fleets SET finished_at = NULL, statement_job_id = NULL WHERE id IN ({REVOKED})")


def downgrade() -> None:
    """Downgrade: earlier versions go on to call revoked targets in force."""
    op.execute("UPDATE fleet_targets SET state = 'in_force' WHERE state = 'revoked'")
    op.drop_index("ix_jobs_revokes", "jobs")
