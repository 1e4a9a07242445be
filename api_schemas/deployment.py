"""What `expunge check-deployment` finds: whether a pipeline carries the removal that a report is about."""

from typing import Literal

from pydantic import Field

from api_schemas.base import ReportModel

EditPresence = Literal["carries", "partly", "base", "other"]
"""The edit; a part of it, as of a LoRA at another scale or of one encoder of two; the base model; something else."""
Identity = Literal["edited", "base", "other", "unknown"]


class TensorFound(ReportModel):
    """A tensor that the edit replaced, as the pipeline has it."""

    name: str
    identity: Identity = Field(
        description="By the digest of its bytes, in whatever precision; `unknown`: it can't be read alone."
    )


class ComponentFound(ReportModel):
    """One text encoder."""

    component: str
    carried: EditPresence
    tensors: list[TensorFound]
    canaries: int = Field(description="Prompts that it was asked.")
    progress: float | None = Field(None, description="Median share of the way from base to edit; 1 is all of it.")
    error: float | None = Field(
        None, description="Largest distance from the edited states, relative to how far the edit moves them."
    )
    detail: str


class Deployment(ReportModel):
    """The whole pipeline."""

    carried: EditPresence
    components: list[ComponentFound]
