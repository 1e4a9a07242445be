"""Calibrations of base models: the request and the job."""

import hashlib
from datetime import datetime
from typing import Literal

from pydantic import Field

from api_schemas.base import Request, Resource
from api_schemas.edits import ModelName
from api_schemas.jobs import JobError, Status


class CalibrationRequest(Request):
    """The body of `POST /v1/models/{model_id}/calibrate`."""

    objects: int = Field(default=100, ge=12, le=5000, description="Objects of the profile to generate.")
    images: int = Field(default=8, ge=4, le=100, description="Images of each object, each in another style.")
    steps: int | None = Field(
        default=None, ge=1, le=150, description="Sampler steps per image. Default: those of the model's family."
    )
    guidance: float | None = Field(
        default=None, ge=0, le=20, description="Classifier-free guidance scale. Default: that of the model's family."
    )
    training_steps: int = Field(default=4000, ge=1, le=1_000_000, description="Training steps of each autoencoder.")
    latents: int | None = Field(
        default=None, ge=16, le=1_000_000, description="Size of each dictionary. Default: four times the width."
    )
    seed: int = Field(default=0, ge=0, lt=2**31, description="Seed of the images and of the training.")


class CalibrationTask(CalibrationRequest):
    """A calibration request with the base model that its path names."""

    model: ModelName

    def digest(self) -> str:
        """Return `sha256:…` over the canonical JSON, which identifies equal requests."""
        canonical = self.model_dump_json(exclude_none=True)
        return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


class CalibrationUrls(Resource):
    """Paths of the related resources, relative to the host."""

    self: str
    model: str
    cancel: str
    events: str
    stream: str
    artifacts: str


class Calibration(Resource):
    """A job that calibrates a base model. The model's `calibration` has the result."""

    object: Literal["calibration"] = "calibration"
    id: str
    model: str
    status: Status
    phase: str | None = Field(default=None, description="The current or last phase. More values may be added.")
    progress: float = Field(default=0.0, ge=0, le=1, description="Completed fraction of the whole job.")
    request: CalibrationTask = Field(description="The accepted request, with all defaults.")
    request_digest: str
    attempt: int = Field(description="Number of times that a worker has started the job.")
    max_attempts: int
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    expires_at: datetime = Field(description="The job expires if no worker has started it by this time.")
    error: JobError | None = None
    metrics: dict[str, float] = Field(
        default_factory=dict,
        description="`queue_seconds` and `run_seconds`, once they are known. More values may be added.",
    )
    urls: CalibrationUrls
