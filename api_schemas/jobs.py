"""Resources about jobs: edits, artifacts, models, and pages of them."""

from datetime import datetime
from typing import Any, Generic, Literal, TypeAlias, TypeVar

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.edits import EditRequest, Priority
from api_schemas.report import Verdict

Status: TypeAlias = Literal["queued", "running", "canceling", "succeeded", "failed", "canceled", "expired"]
"""`queued -> running -> succeeded | failed`; `canceling -> canceled`; `expired`: not started in time."""

TERMINAL_STATUSES: frozenset[Status] = frozenset({"succeeded", "failed", "canceled", "expired"})
"""Statuses that never change again."""

JobKind: TypeAlias = Literal["removal", "revocation", "plan", "calibration", "preview", "registration", "statement"]
"""A revocation removes an edit from the ledger. Only removals and revocations are listed as edits."""

EDIT_KINDS: tuple[JobKind, ...] = ("removal", "revocation")
"""The kinds of jobs that are edits."""

QUICK_KINDS: tuple[JobKind, ...] = ("plan", "preview")
"""The kinds of small jobs that somebody waits for. They have a queue of their own."""

Item = TypeVar("Item")


class JobError(Resource):
    """Why a job failed."""

    code: str = Field(description="Stable, for programs.")
    message: str
    param: str | None = Field(default=None, description="The request field that caused the error, if there is one.")
    phase: str | None = Field(default=None, description="The phase that failed.")
    retryable: bool = Field(default=False, description="The same request may succeed later.")


class EditUrls(Resource):
    """Paths of the related resources, relative to the host, so that they work behind any proxy."""

    self: str
    cancel: str
    events: str
    stream: str
    artifacts: str
    report: str


class Artifact(Resource):
    """A published file. `url` supports Range requests; its ETag is the SHA-256."""

    object: Literal["artifact"] = "artifact"
    name: str = Field(description="Path inside the bundle.", examples=["text_encoder/model.safetensors"])
    kind: str = Field(examples=["weights", "report"])
    media_type: str
    size: int = Field(description="Bytes.")
    sha256: str = Field(description="64 hexadecimal digits.")
    url: str


class Edit(Resource):
    """An edit. `status` tells how the job ran, `verdict` whether the concept was erased; they are independent."""

    object: Literal["edit"] = "edit"
    id: str
    kind: JobKind = "removal"
    status: Status
    phase: str | None = Field(default=None, description="The current or last phase. More values may be added.")
    progress: float = Field(default=0.0, ge=0, le=1, description="Completed fraction of the whole job.")
    verdict: Verdict | None = None
    request: EditRequest = Field(description="The accepted request, with all defaults.")
    request_digest: str
    priority: Priority = "normal"
    attempt: int = Field(description="Number of times that a worker has started the job.")
    max_attempts: int
    created_at: datetime
    queued_at: datetime
    started_at: datetime | None = None
    canceling_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime = Field(description="The job expires if no worker has started it by this time.")
    revokes: str | None = Field(default=None, description="For a revocation, the edit that it revokes.")
    error: JobError | None = None
    metrics: dict[str, float] = Field(
        default_factory=dict,
        description="`queue_seconds` and `run_seconds`, once they are known. More values may be added.",
    )
    artifacts: list[Artifact] = Field(default_factory=list)
    metadata: dict[str, str] = Field(default_factory=dict)
    urls: EditUrls

    @property
    def finished(self) -> bool:
        """Whether the status is terminal."""
        return self.status in TERMINAL_STATUSES


class ModelFile(Resource):
    """A file of a base model."""

    name: str
    size: int = Field(description="Bytes.")
    sha256: str | None = Field(
        default=None,
        description="Digest when the file was read last; null if it was not read yet, or has changed since.",
    )


class EditableEncoder(Resource):
    """A text encoder of a base model. The `sites` of a request are layers of it."""

    component: str = Field(examples=["text_encoder"])
    kind: str = Field(examples=["CLIPTextModel"])
    layers: int
    width: int
    digest: str | None = Field(
        default=None,
        description="Digest of its tensors, the same in every file layout; null until the model has been read. Models with "
        "equal encoders get the same edit.",
    )


class InstrumentFigures(Resource):
    """What was measured of the instruments for one kind of concept."""

    kind: Literal["object", "style"]
    known: int = Field(description="Concepts that the model draws and the judge recognises.")
    unknown: int = Field(description="Concepts that the judge recognises in fewer than half of their images.")
    module: str = Field(description="The module whose activations the instruments read.", examples=["mid_block"])
    unexplained_variance: float = Field(description="Fraction of variance unexplained by the autoencoder.")
    probe_accuracy: float = Field(description="Accuracy of a linear probe on held-out images.")
    diffc_accuracy: float = Field(description="Accuracy of the Diff-C classifier on held-out images.")


class ModelCalibration(Resource):
    """The calibration of a base model that edits with `features` use."""

    digest: str = Field(description="Digest of the base model's weights.")
    judge: str
    created_at: datetime
    figures: list[InstrumentFigures]


ModelStatus: TypeAlias = Literal["registering", "quarantined", "admitted", "refused"]
"""`registering -> admitted | refused`. A model that a fleet of the tenant follows is `quarantined` until its edit is in force,
and `refused` if it does not come into force."""
ModelSource: TypeAlias = Literal["path", "hub", "operator", "settings"]
"""Registered over the API from a path or a Hub, registered by `expunge models add`, or defined by the settings."""


class HubCommit(Resource):
    """The repository of a Hugging Face Hub that a model was downloaded from."""

    repo_id: str
    revision: str = Field(description="The commit.")
    filename: str | None = None


class Model(Resource):
    """A base model. The Hub routes serve models with the status `admitted`; one in quarantine can be edited too."""

    object: Literal["model"] = "model"
    id: str
    status: ModelStatus = "admitted"
    error: JobError | None = Field(default=None, description="Why the model was refused.")
    source: ModelSource = Field(default="operator", description="How the model was registered.")
    hub: HubCommit | None = None
    labels: list[str] = Field(default_factory=list)
    family: str | None = Field(
        default=None, description="Family of the architecture; null until the model has been read.", examples=["sdxl"]
    )
    digest: str | None = Field(
        default=None, description="Digest of the weights, as in `calibration`; null until the model has been read."
    )
    revision: str | None = Field(
        description="40 hexadecimal digits that identify the content of all files; null if some files were not hashed."
    )
    licence: str | None = Field(
        description="Licence that was registered, else that of the front matter of README.md; null if neither names one."
    )
    editable: list[EditableEncoder]
    max_phrase_tokens: int | None = Field(
        description="Maximum length of a concept in tokens; null if the model has no tokenizer.json."
    )
    calibration: ModelCalibration | None = Field(
        default=None, description="What edits with `features` read; null if the model was not calibrated."
    )
    profile: dict[str, Any] | None = Field(
        default=None, description="The profile that was registered; null: the model's own, or the general one."
    )
    files: list[ModelFile]
    components: list[ModelFile] | None = Field(
        default=None, description="Files that complete the model to generate images; null if none were registered."
    )
    url: str


class Page(Resource, Generic[Item]):
    """A page of a list. Request the next page with `?after=<next_cursor>`."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool = False
    next_cursor: str | None = None


class Health(Resource):
    """The response of `/healthz` and `/readyz`. Each check is `ok` or an error message."""

    status: Literal["ok", "unavailable"]
    version: str
    checks: dict[str, str] = Field(default_factory=dict)
