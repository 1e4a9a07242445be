"""What the service answers about a job: the edit, its artifacts, its model, and lists of them."""

from datetime import datetime
from typing import Generic, Literal, TypeAlias, TypeVar

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.edits import EditRequest, Priority
from api_schemas.report import Verdict

Status: TypeAlias = Literal["queued", "running", "canceling", "succeeded", "failed", "canceled", "expired"]
"""`queued -> running -> succeeded | failed`; `canceling -> canceled`; `expired`: never started in time."""

TERMINAL_STATUSES: frozenset[Status] = frozenset({"succeeded", "failed", "canceled", "expired"})
"""States that never change again."""

JobKind: TypeAlias = Literal["removal", "revocation", "plan"]
"""A revocation takes an edit out of the ledger again. A plan is a dry run; no edit is listed for it."""

Item = TypeVar("Item")


class JobError(Resource):
    """Why a job failed."""

    code: str = Field(description="Stable, for programs.")
    message: str
    param: str | None = Field(default=None, description="The request's field that is to blame, if one is.")
    phase: str | None = Field(default=None, description="The phase that failed.")
    retryable: bool = Field(default=False, description="The same request may work later.")


class EditUrls(Resource):
    """Where to go from here. Paths, so that they hold behind any proxy."""

    self: str
    cancel: str
    events: str
    stream: str
    artifacts: str
    report: str


class Artifact(Resource):
    """One published file. `url` answers Range requests; its ETag is the sha256."""

    object: Literal["artifact"] = "artifact"
    name: str = Field(description="Path inside the bundle.", examples=["text_encoder/model.safetensors"])
    kind: str = Field(examples=["weights", "report"])
    media_type: str
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="64 hexadecimal digits.")
    url: str


class Edit(Resource):
    """A job. `status`: how the run went. `verdict`: whether the concept is gone. They are independent."""

    object: Literal["edit"] = "edit"
    id: str
    kind: JobKind = "removal"
    status: Status
    phase: str | None = Field(default=None, description="What runs now, or ran last. An open set.")
    progress: float = Field(default=0.0, ge=0, le=1, description="Share of the whole job that is done.")
    verdict: Verdict | None = None
    request: EditRequest = Field(description="As accepted, with all defaults filled in.")
    request_digest: str
    priority: Priority = "normal"
    attempt: int = Field(description="How many times a worker has started it.")
    max_attempts: int
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None = None
    canceling_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime = Field(description="A job that no worker has started by then expires.")
    revokes: str | None = Field(default=None, description="Of a revocation: the edit that it takes back.")
    error: JobError | None = None
    metrics: dict[str, float] = Field(
        default_factory=dict, description="`queue_seconds`, `run_seconds`, as far as they are known. An open set."
    )
    artifacts: list[Artifact] = Field(default_factory=list)
    metadata: dict[str, str] = Field(default_factory=dict)
    urls: EditUrls

    @property
    def finished(self) -> bool:
        """Whether the status is terminal."""
        return self.status in TERMINAL_STATUSES


class ModelFile(Resource):
    """One file of a base model."""

    name: str
    size: int = Field(description="Bytes.")
    sha256: str | None = Field(default=None, description="As it was when the model was added; null: it was not.")


class EditableEncoder(Resource):
    """A text encoder of a base model; a request's `sites` are among its layers."""

    component: str = Field(examples=["text_encoder"])
    kind: str = Field(examples=["CLIPTextModel"])
    layers: int
    width: int


class Model(Resource):
    """A base model that this service can edit."""

    object: Literal["model"] = "model"
    id: str
    revision: str | None = Field(
        description="Forty hexadecimal digits over all files: another content is another revision. null: some were not hashed."
    )
    licence: str | None = Field(description="As its README.md says. null: it says nothing.")
    editable: list[EditableEncoder]
    max_phrase_tokens: int | None = Field(
        description="The longest concept, in tokens of its tokenizer. null: it ships no tokenizer.json."
    )
    files: list[ModelFile]
    url: str


class Page(Resource, Generic[Item]):
    """A list. Ask for the next page with `?after=<next_cursor>`."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool = False
    next_cursor: str | None = None


class Health(Resource):
    """What `/healthz` and `/readyz` answer: each check is `ok` or says what is wrong."""

    status: Literal["ok", "unavailable"]
    version: str
    checks: dict[str, str] = Field(default_factory=dict)
