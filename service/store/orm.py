"""ORM classes of the current schema. `service.store.migrations` has the steps that lead to it."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, ForeignKeyConstraint, Index, LargeBinary, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from api_schemas.jobs import JobKind, Status
from api_schemas.report import Verdict
from service.store import cases_orm as cases_orm  # importing it registers the tables of cases
from service.store.fleets_orm import Fleet as Fleet
from service.store.fleets_orm import FleetTarget as FleetTarget
from service.store.operations_orm import PausedQueue as PausedQueue
from service.store.operations_orm import WorkerPresence as WorkerPresence
from service.store.orm_base import MAX_INTEGER as MAX_INTEGER
from service.store.orm_base import Base as Base
from service.store.orm_base import UtcDateTime as UtcDateTime
from service.store.orm_base import add_row as add_row
from service.store.orm_base import add_rows as add_rows


class ApiKey(Base):
    """An API key. Only the hash of its secret is stored."""

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


class WebSession(Base):
    """A session of the web pages. Only the hash of its id is stored. A user of an identity provider has no `api_key_id`."""

    __tablename__ = "web_sessions"

    id_sha256: Mapped[str] = mapped_column(primary_key=True)
    api_key_id: Mapped[str | None] = mapped_column(ForeignKey("api_keys.id"))
    user_id: Mapped[str]
    tenant: Mapped[str]
    name: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    expires_at: Mapped[datetime] = mapped_column(index=True)


class Job(Base):
    """An edit or another job of `JobKind`. `fence` counts claims; a worker with an older fence cannot write."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_tenant_started_at", "tenant", "started_at"),
        Index("ix_jobs_tenant_id", "tenant", "id"),
        Index("ix_jobs_tenant_status_id", "tenant", "status", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str]
    kind: Mapped[JobKind]
    revokes: Mapped[str | None] = mapped_column(index=True)
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
    """An event of a job. `seq` has no gaps, because it is assigned under the lock of the job's row."""

    __tablename__ = "events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    created_at: Mapped[datetime]
    level: Mapped[str]
    type: Mapped[str]
    message: Mapped[str]
    data: Mapped[dict[str, Any]]


class Sample(Base):
    """Small images of a running validation, before and after the edit. Deleted when the job ends."""

    __tablename__ = "samples"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    prompt: Mapped[str]
    seed: Mapped[int] = mapped_column(BigInteger)
    before: Mapped[bytes] = mapped_column(LargeBinary)
    after: Mapped[bytes | None] = mapped_column(LargeBinary)


class OutboxMessage(Base):
    """A message of the transactional outbox: a job that workers must be notified of. Deleted when the job is claimed."""

    __tablename__ = "outbox"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    due_at: Mapped[datetime] = mapped_column(index=True)
    send_count: Mapped[int] = mapped_column("rings", key="send_count", default=0)


class IdempotencyKey(Base):
    """A stored reply, which is returned when the request is repeated with the same key."""

    __tablename__ = "idempotency_keys"

    api_key_id: Mapped[str] = mapped_column(primary_key=True)
    route: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status_code: Mapped[int]
    body: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(index=True)


class Artifact(Base):
    """A published file of a job: the name of a blob, or of an overlay that combines a blob with the base model."""

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
    """A revision of a tenant's ledger of a model. Revisions are numbered from 1 without gaps and never change."""

    __tablename__ = "revisions"

    tenant: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), unique=True)
    digest: Mapped[str]
    active: Mapped[int]
    created_at: Mapped[datetime]


class LedgerEntry(Base):
    """A removal that an edit added to a ledger. `until` is the first revision without it.

    `parameters` is what the editor found for it, with which later revisions are solved too.
    """

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
    parameters: Mapped[dict[str, Any] | None]
    since: Mapped[int]
    until: Mapped[int | None]


class Batch(Base):
    """Several removals in one request, and the job that performs them."""

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(primary_key=True)
    tenant: Mapped[str] = mapped_column(index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    created_at: Mapped[datetime]


class BatchItem(Base):
    """One removal of a batch, as it was sent. `place` is its index in the edit's request, or None if it was rejected."""

    __tablename__ = "batch_items"
    __table_args__ = (UniqueConstraint("batch_id", "place"),)

    batch_id: Mapped[str] = mapped_column(ForeignKey("batches.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    concept: Mapped[str]
    place: Mapped[int | None]
    errors: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class WebhookEndpoint(Base):
    """A webhook endpoint. `secret` and `private_key`, which sign its messages, are encrypted."""

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
    """A message to an endpoint. `next_attempt_at` is None once it was delivered or abandoned.

    It is about a job, a case or a model; a test message is about none of them.
    """

    __tablename__ = "webhook_deliveries"

    id: Mapped[str] = mapped_column(primary_key=True)
    endpoint_id: Mapped[str] = mapped_column(ForeignKey("webhook_endpoints.id"), index=True)
    job_id: Mapped[str | None] = mapped_column(ForeignKey("jobs.id"))
    case_id: Mapped[str | None] = mapped_column(ForeignKey("cases.id"))
    model: Mapped[str | None]
    type: Mapped[str]
    body: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[datetime]
    next_attempt_at: Mapped[datetime | None] = mapped_column(index=True)
    tries: Mapped[int]
    attempts: Mapped[list[dict[str, Any]]] = mapped_column(JSON)


class ModelRegistration(Base):
    """A base model: where its files are, how they are used, and what was read from them.

    `job_id` is the job that reads the files; None once it has succeeded, or if there is none. `digest`, `family` and
    `encoders` are None until a job has read the files.
    """

    __tablename__ = "registered_models"

    id: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column("folder", key="path")
    registered_at: Mapped[datetime]
    source: Mapped[str] = mapped_column(default="operator")
    hub: Mapped[dict[str, Any] | None]
    components: Mapped[str | None]
    profile: Mapped[dict[str, Any] | None]
    labels: Mapped[list[str]] = mapped_column(JSON, default=list)
    licence: Mapped[str | None]
    status: Mapped[str] = mapped_column(default="admitted")
    job_id: Mapped[str | None] = mapped_column(index=True)
    family: Mapped[str | None]
    digest: Mapped[str | None]
    encoders: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON(none_as_null=True))


class RegisteredFile(Base):
    """A file of a registered model: its size, modification time and digest when it was hashed.

    `part` is `model`, or `components` for the files that complete it.
    """

    __tablename__ = "registered_files"

    model_id: Mapped[str] = mapped_column(ForeignKey("registered_models.id"), primary_key=True)
    part: Mapped[str] = mapped_column(primary_key=True, default="model")
    name: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]


class ModelCalibration(Base):
    """The calibration of a base model, by the digest of its weights. The artifacts of `job_id` are its files.

    `model` and `revision` are the id and the content of the model when it was calibrated.
    """

    __tablename__ = "calibrations"

    digest: Mapped[str] = mapped_column(primary_key=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"))
    model: Mapped[str] = mapped_column(index=True)
    revision: Mapped[str | None] = mapped_column(index=True)
    judge: Mapped[str]
    figures: Mapped[list[dict[str, Any]]] = mapped_column(JSON)
    created_at: Mapped[datetime]


class AuditLine(Base):
    """A line of the audit log. Its hash covers the previous line's hash; triggers forbid changing or deleting lines."""

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
