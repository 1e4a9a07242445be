"""Fleets: one decision for many base models. Models with equal text encoders get the same delta, which is solved once."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, StringConstraints, model_validator

from api_schemas.base import Request, Resource, field_error
from api_schemas.edits import EditOptions, EditRequest, Metadata, ModelName, Priority, Removal, Validation
from api_schemas.jobs import JobError
from api_schemas.registrations import MAX_LABELS, Label
from api_schemas.report import Verdict

MAX_TARGETS = 1000
"""Models of a fleet."""

FleetStatus: TypeAlias = Literal["running", "in_force", "ineffective", "failed", "canceled", "revoked"]
"""`in_force` if every target is; otherwise the first of `failed`, `canceled`, `ineffective`, `revoked` that one target is."""
TargetState: TypeAlias = Literal[
    "planned", "queued", "in_force", "ineffective", "conflict", "failed", "canceled", "revoked"
]
"""`planned -> queued -> in_force | ineffective | conflict | failed`, then `revoked` if the edit is revoked.

`ineffective`: the edit ran, but its gates failed.
"""
TERMINAL_STATES: frozenset[TargetState] = frozenset(
    {"in_force", "ineffective", "conflict", "failed", "canceled", "revoked"}
)
Application: TypeAlias = Literal["solved", "carried"]
"""How a target gets its weights: solved for it, or by the delta of a target with the same text encoders."""


class FleetSelector(Request):
    """Selects models that have all of the given properties. At least one must be given."""

    labels: list[Label] = Field(
        default_factory=list, max_length=MAX_LABELS, description="Labels that a model must have."
    )
    family: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    encoder: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="Digest of a text encoder, as in `editable` of a model."
    )
    models: list[ModelName] = Field(default_factory=list, max_length=MAX_TARGETS, description="Ids of models.")

    @model_validator(mode="after")
    def _check_selects(self) -> "FleetSelector":
        if not (self.labels or self.family or self.encoder or self.models):
            raise field_error("empty_selector", "selects nothing", "Give labels, a family, an encoder or models.")
        return self


class FleetRequest(Request):
    """The body of `POST /v1/fleets`: removals that join the ledger of every selected model."""

    selector: FleetSelector
    removals: list[Removal] = Field(
        min_length=1, max_length=1000, description="The concepts to remove from every model."
    )
    options: EditOptions = EditOptions()
    validation: Validation = Validation()
    withhold_names: bool = Field(default=False, description="Leave the names out of published files.")
    follow: bool = Field(
        default=False,
        description="Also edit models that are registered or labelled later and that the selector selects. Until the edit is "
        "in force they are in quarantine: the Hub routes do not serve them.",
    )
    priority: Priority = "normal"
    metadata: Metadata = Field(default={})

    @classmethod
    def from_edit(cls, edit: EditRequest, selector: Mapping[str, Any], *, follow: bool = False) -> "FleetRequest":
        """Return the request that makes the removals of an edit in every selected model. Raises `ValidationError`."""
        shared = {name: getattr(edit, name) for name in cls.model_fields if name in EditRequest.model_fields}
        return cls(selector=FleetSelector.model_validate(selector), follow=follow, **shared)

    @model_validator(mode="after")
    def _check_follows(self) -> "FleetRequest":
        if self.follow and self.selector.models:
            raise field_error(
                "follows_named_models",
                "follows models by their properties, but selects them by id",
                "Select by labels, family or encoder.",
            )
        return self

    def edit_request(self, model: str) -> EditRequest:
        """Return the edit of one model."""
        return EditRequest(
            model=model,
            removals=self.removals,
            ledger=True,
            options=self.options,
            validation=self.validation,
            withhold_names=self.withhold_names,
            priority=self.priority,
            metadata=self.metadata,
        )

    def digest(self) -> str:
        """Return `sha256:…` over the canonical JSON, which identifies equal requests."""
        return f"sha256:{hashlib.sha256(self.model_dump_json().encode()).hexdigest()}"


class FleetTask(Request):
    """The request of the job that signs the statement of a fleet."""

    fleet: str
    model: str = "fleet"
    priority: Priority = "normal"

    def digest(self) -> str:
        """Return `sha256:…` over the canonical JSON."""
        return f"sha256:{hashlib.sha256(self.model_dump_json().encode()).hexdigest()}"


class FleetTarget(Resource):
    """One model of a fleet, and what became of it."""

    object: Literal["fleet_target"] = "fleet_target"
    model: str
    state: TargetState = "planned"
    group: str = Field(
        description="Targets of the same group have the same text encoders, profile and active removals. One is solved."
    )
    application: Application | None = Field(default=None, description="null until an edit of the target is queued.")
    followed: bool = Field(default=False, description="Whether the model was added after the fleet was created.")
    withheld: bool = Field(default=False, description="Whether a case of yours withholds the model at present.")
    edit: str | None = Field(default=None, description="The edit that removes the concepts from this model.")
    carried_from: str | None = Field(default=None, description="The edit whose delta was carried over.")
    revision: int | None = Field(default=None, description="The revision of the model's ledger that the edit added.")
    revocation: str | None = Field(default=None, description="The job that revoked the edit.")
    verdict: Verdict | None = Field(
        default=None, description="Verdict of the edit, or of the one it was carried from; null: not validated."
    )
    error: JobError | None = None


class FleetCounts(Resource):
    """Numbers of targets."""

    total: int
    groups: int = Field(description="Number of different groups: as many edits are solved, if none fails.")
    in_force: int = 0
    ineffective: int = 0
    failed: int = Field(default=0, description="Failed, in conflict or canceled.")
    revoked: int = 0
    pending: int = 0


class FleetUrls(Resource):
    """Paths of the related resources, relative to the host."""

    self: str
    targets: str
    statement: str


class Fleet(Resource):
    """One decision for many models. Targets are frozen when it is created, and added later if it follows."""

    object: Literal["fleet"] = "fleet"
    id: str
    status: FleetStatus
    request: FleetRequest
    request_digest: str
    counts: FleetCounts
    created_at: datetime
    finished_at: datetime | None = Field(default=None, description="null again while a followed model is edited.")
    following: bool = Field(default=False, description="Whether models that are registered later are added.")
    statement: str | None = Field(default=None, description="sha256 of the signed statement, once it exists.")
    urls: FleetUrls


class FleetPlan(Resource):
    """What `POST /v1/fleets:plan` would do. Nothing is queued."""

    object: Literal["fleet_plan"] = "fleet_plan"
    counts: FleetCounts
    targets: list[FleetTarget]
