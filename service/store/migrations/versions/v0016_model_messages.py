"""Add the model that a webhook message is about."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = depends_on = None


def upgrade() -> None:
    """Upgrade: earlier messages are about no model."""
    op.add_column("webhook_deliveries", sa.Column("model", sa.String(), nullable=True))


def downgrade() -> None:
    """Downgrade: delete the messages about models, which earlier versions cannot read."""
    op.execute("DELETE FROM webhook_deliveries WHERE model IS NOT NULL")
    with op.batch_alter_table("webhook_deliveries", schema=None) as batch_op:
        batch_op.drop_column("model")
