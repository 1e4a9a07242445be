"""Previews: images of a prompt by the base model, and by an edit of it or with a group of features steered, at equal seeds."""

import hashlib
from datetime import datetime
from typing import Annotated, Literal, TypeAlias, get_args

from pydantic import AfterValidator, Field

from api_schemas.base import Prompt, Request, Resource, field_error
from api_schemas.edits import ModelName
from api_schemas.features import FeatureKind
from api_schemas.jobs import JobError, Status
from api_schemas.validation_options import ImageSide


def _refuse_repeated_seeds(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise field_error("repeated_seed", "must name each seed once", "Leave out the repeated seed.")
    return seeds


Seed = Annotated[int, Field(ge=0, lt=2**53)]
Seeds = Annotated[list[Seed], Field(min_length=1, max_length=8), AfterValidator(_refuse_repeated_seeds)]


class PreviewRequest(Request):
    """The body of `POST /v1/edits/{edit_id}/previews`."""

    prompt: Prompt = Field(
        description="The prompt. It may name people, so it is neither logged nor part of any URL, and it is deleted with "
        "the preview.",
        examples=["a red fox in the snow"],
    )
    seeds: Seeds = Field(default=[0, 1], description="One image of each model per seed.", examples=[[0, 1, 2, 3]])
    steps: int | None = Field(
        default=None, ge=1, le=150, description="Sampler steps per image. Default: those of the edit's validation."
    )


def _refuse_repeated_latents(latents: list[int]) -> list[int]:
    if len(set(latents)) < len(latents):
        raise field_error("repeated_latent", "must name each latent once", "Leave out the repeated latent.")
    return latents


MAX_GROUP = 64
"""Features that are steered together."""
Latent = Annotated[int, Field(ge=0, lt=2**31)]
Latents = Annotated[list[Latent], Field(min_length=1, max_length=MAX_GROUP), AfterValidator(_refuse_repeated_latents)]


class SteeringRequest(PreviewRequest):
    """The body of `POST /v1/models/{model_id}/autoencoders/{kind}/previews`."""

    latents: Latents = Field(description="The group of features to steer.", examples=[[17, 203]])
    scale: float = Field(
        default=2.0, ge=-20, le=20, description="Factor of their activations: 0 removes them, 1 changes nothing."
    )


class Steering(Request):
    """A group of features that is steered."""

    kind: FeatureKind = Field(description="The kind of concepts that the autoencoder is read for.")
    latents: Latents
    scale: float


class StoredFile(Request):
    """A file in the blob store."""

    sha256: str
    size: int


class StoredAutoencoder(Request):
    """An autoencoder in the blob store, and the module that it encodes."""

    module: str
    files: dict[str, StoredFile]


class PreviewTask(PreviewRequest):
    """A preview request with its base model, its sampler, and what changes the model: an edit's delta, or steered features."""

    model: ModelName
    edit: str | None = None
    delta_sha256: str = ""
    delta_size: int = 0
    steering: Steering | None = None
    autoencoder: StoredAutoencoder | None = None
    guidance: float | None = None
    height: ImageSide | None = None
    width: ImageSide | None = None

    def digest(self) -> str:
        """Return `sha256:…` over the canonical JSON, which identifies equal requests."""
        return f"sha256:{hashlib.sha256(self.model_dump_json().encode()).hexdigest()}"


PreviewSide: TypeAlias = Literal["before", "after"]
PREVIEW_SIDES: tuple[PreviewSide, ...] = get_args(PreviewSide)


def preview_image_name(seed: int, side: PreviewSide) -> str:
    """Return the file name of an image."""
    return f"{seed}-{side}.png"


class PreviewImages(Resource):
    """The images of one seed, as PNG."""

    seed: int
    before: str = Field(description="Path of the base model's image.")
    after: str = Field(description="Path of the image with the change.")


class PreviewUrls(Resource):
    """Paths of the related resources, relative to the host."""

    self: str
    edit: str | None = None
    cancel: str


class Preview(Resource):
    """A job that generates images of a prompt with the base model and with a change. It is deleted after some hours."""

    object: Literal["preview"] = "preview"
    id: str
    edit: str | None = Field(description="The edit; null if features are steered.")
    steering: Steering | None = Field(default=None, description="The steered features; null if an edit is previewed.")
    model: str
    status: Status
    progress: float = Field(default=0.0, ge=0, le=1, description="Completed fraction of the whole job.")
    request: PreviewRequest = Field(description="The accepted request, with all defaults.")
    images: list[PreviewImages] = Field(description="One item per seed; empty until the job has succeeded.")
    error: JobError | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deleted_at: datetime | None = Field(
        default=None, description="When prompt and images are deleted at the earliest; null until the job has ended."
    )
    metrics: dict[str, float] = Field(
        default_factory=dict,
        description="`queue_seconds` and `run_seconds`, once they are known. More values may be added.",
    )
    urls: PreviewUrls
