"""Add to the removals of ledgers what the editor found for them."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = depends_on = None


def upgrade() -> None:
    """Upgrade."""
    op.add_column("ledger_entries", sa.Column("parameters", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Downgrade."""
    with op.batch_alter_table("ledger_entries", schema=None) as batch_op:
        batch_op.drop_column("parameters")
