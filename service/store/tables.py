"""The tables around edits: ledgers, batches, webhooks, registered models, the audit log."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service.store.schema import Base


class Revision(Base):
    """A state of a tenant's ledger of one model. 1, 2, 3 … without gaps; what a revision is never changes."""

    __tablename__ = "revisions"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    digest: Mapped[str]
    active: Mapped[int]
    created_at: Mapped[datetime]


class LedgerEntry(Base):
    """One removal that one edit brought into a ledger; `until` is the revision that no longer has it."""

    __tablename__ = "ledger_entries"
    __table_args__ = (
        ForeignKeyConstraint(["tenant", "model", "since"], ["revisions.tenant", "revisions.model", "revisions.number"]),
        ForeignKeyConstraint(["tenant", "model", "until"], ["revisions.tenant", "revisions.model", "revisions.number"]),
        Index("ix_ledger_entries_tenant_model_until", "tenant", "model", "until"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    model: Mapped[str]
    removal: Mapped[dict[str, Any]]
    options: Mapped[dict[str, Any]]
    since: Mapped[int]
    until: Mapped[int | None]


class Batch(Base):
    """Many removals in one request: the edit that makes them, and what became of each."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime]


class BatchItem(Base):
    """One removal of a batch, as it was sent; `place` is where it stands in the edit's request, None: it was refused."""

    __tablename__ = "batch_items"
    __table_args__ = (UniqueConstraint("batch_id", "place"),)

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    concept: Mapped[str]
    place: Mapped[int | None]
    errors: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class WebhookEndpoint(Base):
    """A receiver, and the secrets that its messages are signed with: `secret` and `private_key` are sealed."""

    __tablename__ = "webhook_endpoints"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    url: Mapped[str]
    events: Mapped[list[str]] = mapped_column(JSON)
    description: Mapped[str]
    secret: Mapped[str]
    private_key: Mapped[str]
    public_key: Mapped[str]
    created_at: Mapped[datetime]
    disabled_at: Mapped[datetime | None]
    deleted_at: Mapped[datetime | None]


class WebhookDelivery(Base):
    """A message to an endpoint. `next_attempt_at` is None once it is delivered or given up."""

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    type: Mapped[str]
    body: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime | None] = mapped_column(index=True)
    tries: Mapped[int]
    attempts: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class RegisteredModel(Base):
    """A base model that an operator registered: its folder, and each file's size, time and digest."""

    __tablename__ = "registered_models"

    id: Mapped[str] = mapped_column(primary_key=True)
    folder: Mapped[str]
    registered_at: Mapped[datetime]


class RegisteredFile(Base):
    """One file of a registered model, as it was when it was hashed."""

    __tablename__ = "registered_files"

    model_id: Mapped[str] = mapped_column(ForeignKey("registered_models.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]


class AuditLine(Base):
    """Who did what. Each line's hash covers the one before it; the database refuses to change or remove one."""

    __tablename__ = "audit_log"

    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    tenant: Mapped[str]
    actor: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    details: Mapped[dict[str, Any]]
    previous: Mapped[str]
    hash: Mapped[str]
