"""The tables, as this version of Expunge needs them. How a database gets there: `service.store.migrations`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Insert,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    insert,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from api_schemas.jobs import JobKind, Status
from api_schemas.report import Verdict

MAX_INTEGER = 2**31 - 1
"""That a column of whole numbers takes, in every database."""


class UtcDateTime(TypeDecorator[datetime]):
    """Aware in Python, UTC in the database. Naive times are refused: nobody knows what they mean."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Into the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a naive datetime has no place in the store")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Out of it."""
        return value.replace(tzinfo=UTC) if value else None


class Base(DeclarativeBase):
    """What the tables have in common: names for constraints, and how our types are stored."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_N_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy reads it from the class
        datetime: UtcDateTime,
        dict[str, Any]: JSON,
        Status: String,
        JobKind: String,
        Verdict: String,
    }


def add_row(session: Session, table: type[Base], **values: Any) -> None:
    """Insert a row at once, without the object that `Session.add` would keep of it: several times as quick."""
    add_rows(session, table, [values])


def add_rows(session: Session, table: type[Base], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows with the same columns, by one statement."""
    if rows:
        session.connection().execute(_insert_statement(table), rows)


@cache
def _insert_statement(table: type[Base]) -> Insert:
    return insert(cast(Table, table.__table__))


class ApiKey(Base):
    """A key as we know it: never the key itself."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    secret_sha256: Mapped[str]
    tenant: Mapped[str]
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Job(Base):
    """One edit, or a dry run of one. `fence` counts claims: who holds an older number may write nothing more."""

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    kind: Mapped[JobKind]
    revokes: Mapped[str | None]
    status: Mapped[Status] = mapped_column(index=True)
    phase: Mapped[str | None]
    progress: Mapped[float] = mapped_column(default=0.0)
    verdict: Mapped[Verdict | None]
    model: Mapped[str] = mapped_column(index=True)
    request: Mapped[dict[str, Any]]
    request_digest: Mapped[str]
    api_key_id: Mapped[str]
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempts: Mapped[int]
    fence: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    queued_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    canceling_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    expires_at: Mapped[datetime]
    error: Mapped[dict[str, Any] | None]
    manifest_sha256: Mapped[str | None]

    artifacts: Mapped[list["Artifact"]] = relationship(order_by="Artifact.position", lazy="selectin")


class Attempt(Base):
    """One claim of a job by one worker."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    fence: Mapped[int] = mapped_column(primary_key=True)
    owner: Mapped[str]
    started_at: Mapped[datetime]


class Event(Base):
    """A job's history. `seq` has no gaps: it is given out under the job's row lock."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    level: Mapped[str]
    type: Mapped[str]
    message: Mapped[str]
    data: Mapped[dict[str, Any]]


class OutboxMessage(Base):
    """The outbox: a job that a worker has still to be told about. Removed when one claims it."""

    __tablename__ = "outbox"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(index=True)
    rings: Mapped[int] = mapped_column(default=0)


class IdempotencyKey(Base):
    """A reply that was given, to be given again."""

    __tablename__ = "idempotency_keys"

    api_key_id: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status_code: Mapped[int]
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)


class Artifact(Base):
    """One published file of a job: a name for a blob, or for what an overlay makes of one and of the base model."""

    __tablename__ = "artifacts"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    kind: Mapped[str]
    media_type: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    overlay: Mapped[dict[str, Any] | None]


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


class ModelRegistration(Base):
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
