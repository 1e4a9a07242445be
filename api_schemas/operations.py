"""What operators see and do over the API: API keys, queues, workers and jobs of all tenants."""

from datetime import datetime
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field, StringConstraints

from api_schemas.access import DEFAULT_TENANT, TENANT_PATTERN, TENANT_SCOPES, ApiKeyRecord, Scope
from api_schemas.base import Request, Resource, normalize_text
from api_schemas.jobs import JobKind, Status

QueueName: TypeAlias = Literal["edits", "plans"]
QUEUE_NAMES: tuple[QueueName, ...] = get_args(QueueName)

RETRYABLE_STATUSES: tuple[Status, ...] = ("failed", "expired")
"""The statuses of jobs that can be retried."""
RETRYABLE_KINDS: tuple[JobKind, ...] = ("removal", "revocation", "calibration", "registration", "statement")
"""The kinds of jobs that can be retried. Dry runs and previews are requested again by whoever waits for them."""

WorkerState: TypeAlias = Literal["busy", "idle", "stopped", "lost"]
"""`stopped`: it ended in order; `lost`: it has not reported for a minute."""


class ApiKeyRequest(Request):
    """The body of `POST /v1/api_keys`."""

    tenant: str = Field(
        default=DEFAULT_TENANT,
        pattern=f"^{TENANT_PATTERN.pattern}$",
        description="The key gives access to the edits, files, events and ledgers of this tenant only.",
    )
    scopes: list[Scope] = Field(
        default=list(TENANT_SCOPES),
        min_length=1,
        description="Scopes that affect all tenants are included only if they are named.",
    )
    name: Annotated[str, StringConstraints(max_length=100), AfterValidator(normalize_text)] = Field(
        default="", description="Your own note."
    )
    days: float | None = Field(default=None, gt=0, le=36_500, description="Days until the key expires; null: never.")


class ApiKey(ApiKeyRecord):
    """An API key. Its secret is not stored."""

    key: str | None = Field(default=None, description="`expunge_…`, returned only when the key is created.")


class Queue(Resource):
    """A queue of jobs: `edits`, or `plans` for the dry runs and previews that somebody waits for."""

    object: Literal["queue"] = "queue"
    name: QueueName
    queued: int = Field(description="Jobs that wait for a worker.")
    running: int = Field(description="Jobs that a worker has claimed.")
    oldest_queued_at: datetime | None = Field(description="When the job that waits longest was queued.")
    paused_at: datetime | None = Field(description="Since when workers claim no job; null: they do.")
    paused_by: str | None = Field(description="The id of the API key that paused the queue.")


class Worker(Resource):
    """A worker that has reported within a day. Workers of schedulers, which run a single job, do not report."""

    object: Literal["worker"] = "worker"
    name: str
    state: WorkerState
    queues: list[QueueName]
    version: str = Field(description="Version of Expunge.")
    started_at: datetime
    seen_at: datetime = Field(description="When it reported last.")
    stopped_at: datetime | None
    job: str | None = Field(description="The job that it runs.")


class JobSummary(Resource):
    """A job of any tenant, without what its request names."""

    object: Literal["job"] = "job"
    id: str
    tenant: str
    kind: JobKind
    model: str
    status: Status
    phase: str | None
    attempt: int
    max_attempts: int
    created_at: datetime
    finished_at: datetime | None
    error_code: str | None = Field(description="Code of the error. Its message may name concepts, so it is left out.")
    retryable: bool = Field(description="Whether `POST /v1/jobs/{job_id}/retry` accepts the job.")
