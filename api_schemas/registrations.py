"""Registrations of base models: the requests, and the job that reads and hashes the files."""

import hashlib
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from api_schemas.base import Request, Resource, field_error
from api_schemas.edits import ModelName, Priority
from api_schemas.jobs import EditableEncoder

MAX_LABELS = 50
MAX_PATH_LENGTH = 4096

Label = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/=-]{0,62}$")]
"""A label of a model: up to 63 letters, digits and `._:/=-`."""
ModelPath = Annotated[str, StringConstraints(min_length=1, max_length=MAX_PATH_LENGTH, pattern=r"^[^\x00-\x1f]+$")]
Licence = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_ -]{0,99}$")]


class HubSource(Request):
    """A repository of a Hugging Face Hub, at a commit."""

    repo_id: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}$", examples=["example/sdxl-anime"]
    )
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$", description="The commit, 40 hexadecimal digits: branches and tags may change."
    )
    filename: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,190}\.safetensors$",
        description="Download this single-file checkpoint alone. Default: the pipeline of the repository.",
    )


class ModelUpdate(Request):
    """The body of `PATCH /v1/models/{model_id}`. Fields that are left out stay as they are; null clears a field."""

    labels: list[Label] = Field(
        default_factory=list, max_length=MAX_LABELS, description="Selectors for lists and fleets."
    )
    licence: Licence | None = Field(
        default=None, description="Licence of the model, such as an SPDX id. Default: that of its README.md."
    )
    components: ModelPath | None = Field(
        default=None,
        description="A folder with what a single file lacks to generate images, such as its VAE. As `path`.",
    )
    profile: dict[str, Any] | None = Field(
        default=None,
        description="A profile that is used instead of the model's own, as `expunge profiles show` prints it.",
    )


class ModelRegistration(ModelUpdate):
    """The body of `POST /v1/models`: exactly one of `path` and `hub`."""

    id: ModelName
    path: ModelPath | None = Field(
        default=None,
        description="A diffusers folder or a single safetensors file on the machine of the service, inside one of the folders "
        "of `EXPUNGE_MODEL_ROOTS`: absolute, or relative to one of them.",
    )
    hub: HubSource | None = Field(
        default=None, description="A repository to download, if the service allows it (`EXPUNGE_HUB_DOWNLOADS`)."
    )

    @model_validator(mode="after")
    def _check_source(self) -> "ModelRegistration":
        if (self.path is None) == (self.hub is None):
            raise field_error(
                "one_source", "needs exactly one of path and hub", "Send the path of the model, or a Hub repository."
            )
        return self


class RegistrationTask(Request):
    """The request of the job that reads a base model. The source is in the database: it may be a path of this machine."""

    model: ModelName
    priority: Priority = "normal"

    def digest(self) -> str:
        """Return `sha256:…` over the canonical JSON, which identifies equal requests."""
        return f"sha256:{hashlib.sha256(self.model_dump_json().encode()).hexdigest()}"


class ModelDescription(Resource):
    """What the editor reads from a base model."""

    family: str
    digest: str
    """Digest of the weights, by which calibrations are found."""
    encoders: list[EditableEncoder]
