"""Dry runs: coverage, conflicts, cost and predicted damage of a request, before anything is queued or edited."""

from datetime import timedelta
from typing import Literal

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.conflicts import Conflict
from api_schemas.edits import EditRequest, SiteName
from api_schemas.kinds import ConceptKind
from api_schemas.report import ForeseenChange, ForeseenRemoval, NameRecord, ReplacementCandidate


class PlannedPrompt(Resource):
    """A prompt that the edit would be computed from."""

    text: str
    means: str = Field(description="Text of the target prompt; empty for the empty prompt.")
    weight: float


class PlannedRemoval(Resource):
    """Coverage of one removal."""

    concept: str
    kind: ConceptKind
    destination: str = Field(description="The replacement or parent class; empty for the null concept.")
    destination_source: str
    candidates: list[ReplacementCandidate] = Field(
        [], description="Names that were compared as the automatic replacement, best first."
    )
    names: list[NameRecord] = Field(description="Every name that would be erased, with its source.")
    prompts: list[PlannedPrompt]


class PlannedEdit(Resource):
    """The predicted edit of one text encoder, or of one kind of site of the denoiser."""

    component: str
    site: SiteName = Field("text_encoder", description="Kind of site.")
    layers: list[int] = Field(description="Layers of a text encoder that would be edited.")
    preservation: float
    removals: list[ForeseenRemoval] = Field(description="Predicted residual of each concept, largest first.")
    prompts: list[ForeseenChange] = Field(
        description="Retain prompts with the largest predicted change, largest first."
    )
    warnings: list[str] = Field(default_factory=list, description="What the forecast says cannot be done.")


class PlanEstimate(Resource):
    """Estimated cost of the job."""

    images: int = Field(
        description="Maximum number of images to generate. Images of the unedited model may be cached already."
    )
    seconds: float | None = Field(
        description="Estimated from earlier jobs on this service; before the first one, the time for these images, from "
        "a short measurement of the model on the worker's device. null: unknown."
    )
    memory: int | None = Field(
        None,
        description="Peak memory of generating images in bytes, measured on the worker: its device's, or its process's "
        "on a CPU. null: nothing is generated.",
    )


def describe_estimate(estimate: PlanEstimate) -> str:
    """Describe a cost: ``"up to 512 images, about 0:01:35, 1.2 GB of memory"``."""
    duration = timedelta(seconds=round(estimate.seconds or 0))
    return f"up to {estimate.images} images, about {duration}, {(estimate.memory or 0) / 1e9:.1f} GB of memory"


class Plan(Resource):
    """The response of `POST /v1/edits:validate`. Nothing is edited, and no edit is listed for it."""

    object: Literal["plan"] = "plan"
    request: EditRequest = Field(description="The request as it would be accepted, with all defaults.")
    request_digest: str
    removals: list[PlannedRemoval]
    edits: list[PlannedEdit]
    conflicts: list[Conflict] = Field(description="Warnings. Contradictions are rejected with 409 or 422.")
    estimate: PlanEstimate
