"""Add fleets that follow, and the targets that they have added later."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = depends_on = None

COLUMNS = {"fleets": "follows", "fleet_targets": "followed"}


def upgrade() -> None:
    """Upgrade: earlier fleets follow nothing."""
    for table, column in COLUMNS.items():
        op.add_column(table, sa.Column(column, sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Downgrade: models that are in quarantine are admitted."""
    for table, column in COLUMNS.items():
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column(column)
