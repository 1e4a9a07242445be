"""The result of `expunge check-deployment`: whether a pipeline has the edit of a report."""

from typing import Literal

from pydantic import Field

from api_schemas.base import ReportModel

EditPresence = Literal["carries", "altered", "partly", "base", "other"]
"""The edit; the edit, with other files that differ from those of the report; a part of it, such as a LoRA at another scale or
one of two encoders; the base model; something else."""
Identity = Literal["edited", "base", "other", "unknown"]


class TensorFound(ReportModel):
    """A tensor that the edit replaces, as the pipeline has it."""

    name: str
    identity: Identity = Field(
        description="Identified by the digest of its bytes, in any precision; `unknown`: it cannot be read separately."
    )
    dtype: str | None = Field(None, description="Its precision in the pipeline, as safetensors names it.")


class FileFound(ReportModel):
    """A file of a stored pipeline."""

    name: str
    identity: Literal["listed", "differs", "unknown"] = Field(
        description="By its digest: as the report lists it, or different from it; `unknown`: the report does not list it."
    )


class ComponentFound(ReportModel):
    """A text encoder."""

    component: str
    carried: EditPresence
    tensors: list[TensorFound]
    canaries: int = Field(description="Number of canary prompts that were evaluated.")
    progress: float | None = Field(None, description="Median position between base (0) and edit (1).")
    error: float | None = Field(
        None, description="Largest distance from the edited states, relative to the distance between base and edit."
    )
    scale: float | None = Field(
        None, description="Least-squares scale of the edit's update: 0 base, 1 edit; null: the update is not known."
    )
    residual: float | None = Field(
        None,
        description="Share of the difference from the base model that the update at this scale leaves unexplained.",
    )
    detail: str


class Deployment(ReportModel):
    """The whole pipeline."""

    carried: EditPresence
    components: list[ComponentFound]
    files: list[FileFound] = Field(
        [],
        description="The files of a stored pipeline that carries the edit. Empty if weights were cast: digests then differ.",
    )
