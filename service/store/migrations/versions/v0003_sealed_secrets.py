"""Encrypt webhook secrets and store their public keys."""

from base64 import b64decode, b64encode

import sqlalchemy as sa
from alembic import op
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.store.migrations.runner import secret_box_of

revision = "0003"
down_revision = "0002"
branch_labels = depends_on = None

ENDPOINTS = sa.table(
    "webhook_endpoints", *(sa.column(name, sa.String()) for name in ("id", "secret", "private_key", "public_key"))
)


def upgrade() -> None:
    """Upgrade. Raises `SecretsKeyError` if there are secrets and no key to encrypt them with."""
    with op.batch_alter_table("webhook_endpoints", schema=None) as batch_op:
        batch_op.add_column(sa.Column("public_key", sa.String(), nullable=False, server_default=""))

    for row in op.get_bind().execute(sa.select(ENDPOINTS)).all():
        secret_box, raw = secret_box_of(op.get_context()), b64decode(row.private_key.removeprefix("whsk_"))
        public = Ed25519PrivateKey.from_private_bytes(raw).public_key().public_bytes_raw()
        sealed = {"secret": secret_box.seal(row.secret), "private_key": secret_box.seal(row.private_key)}
        values = sealed | {"public_key": f"whpk_{b64encode(public).decode()}"}
        op.execute(ENDPOINTS.update().where(ENDPOINTS.c.id == row.id).values(values))


def downgrade() -> None:
    """Downgrade: decrypt the secrets. Raises `SecretsKeyError`."""
    for row in op.get_bind().execute(sa.select(ENDPOINTS)).all():
        secret_box = secret_box_of(op.get_context())
        plain = {"secret": secret_box.open(row.secret), "private_key": secret_box.open(row.private_key)}
        op.execute(ENDPOINTS.update().where(ENDPOINTS.c.id == row.id).values(plain))

    with op.batch_alter_table("webhook_endpoints", schema=None) as batch_op:
        batch_op.drop_column("public_key")
