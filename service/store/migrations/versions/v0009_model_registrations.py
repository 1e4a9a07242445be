"""Add the source, the status, the labels and the description of registered models, and the files of their components."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = depends_on = None

NULLABLE: dict[str, sa.types.TypeEngine[Any]] = {
    "hub": sa.JSON(),
    "components": sa.String(),
    "profile": sa.JSON(),
    "licence": sa.String(),
    "job_id": sa.String(),
    "family": sa.String(),
    "digest": sa.String(),
    "encoders": sa.JSON(),
}
DEFAULTS = {"source": "operator", "status": "admitted"}


def upgrade() -> None:
    """Upgrade."""
    with op.batch_alter_table("registered_models", schema=None) as batch_op:
        for name, kind in NULLABLE.items():
            batch_op.add_column(sa.Column(name, kind, nullable=True))
        for name, value in DEFAULTS.items():
            batch_op.add_column(sa.Column(name, sa.String(), nullable=False, server_default=value))
        batch_op.add_column(sa.Column("labels", sa.JSON(), nullable=False, server_default="[]"))
        batch_op.create_index(batch_op.f("ix_registered_models_job_id"), ["job_id"], unique=False)
    _key_files_by("model_id", "part", "name")


def downgrade() -> None:
    """Downgrade: forget models without a diffusers folder of the operator, and delete the registration jobs."""
    op.execute("DELETE FROM registered_files WHERE part <> 'model'")
    _key_files_by("model_id", "name")
    with op.batch_alter_table("registered_models", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_registered_models_job_id"))
        for name in (*NULLABLE, *DEFAULTS, "labels"):
            batch_op.drop_column(name)
    for table in ("artifacts", "events", "attempts", "outbox"):
        op.execute(f"DELETE FROM {table} WHERE job_id IN (SELECT id FROM jobs WHERE kind = 'registration')")
    op.execute("DELETE FROM jobs WHERE kind = 'registration'")


def _key_files_by(*columns: str) -> None:
    """Add or drop `part`, which is in the primary key."""
    with op.batch_alter_table("registered_files", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("pk_registered_files"), type_="primary")
        if "part" in columns:
            batch_op.add_column(sa.Column("part", sa.String(), nullable=False, server_default="model"))
        else:
            batch_op.drop_column("part")
        batch_op.create_primary_key(batch_op.f("pk_registered_files"), list(columns))
