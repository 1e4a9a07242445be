"""A dry run: what a request would cover, run into, cost and hurt, before anything is queued or edited."""

from typing import Literal

from pydantic import Field

from api_schemas.base import Resource
from api_schemas.conflicts import Conflict
from api_schemas.edits import EditRequest
from api_schemas.report import ForeseenChange, ForeseenRemoval, NameRecord


class PlannedPrompt(Resource):
    """A prompt that the edit would be computed from."""

    text: str
    means: str = Field(description="What it would mean. Empty: what the model draws when told nothing.")
    weight: float


class PlannedRemoval(Resource):
    """What one removal would cover."""

    concept: str
    kind: Literal["object", "style"]
    destination: str = Field(description="What would take its place. Empty: nothing in particular.")
    destination_source: str
    names: list[NameRecord] = Field(description="Everything that goes with it, and why.")
    prompts: list[PlannedPrompt]


class PlannedEdit(Resource):
    """What would happen in one text encoder."""

    component: str
    layers: list[int] = Field(description="That would be edited.")
    preservation: float
    removals: list[ForeseenRemoval] = Field(description="How far each concept would go, what goes least far first.")
    prompts: list[ForeseenChange] = Field(description="Prompts about what stays, the most hurt first.")


class PlanEstimate(Resource):
    """How long the job would take, once a worker starts it."""

    images: int = Field(description="That would be drawn at most; those of the unedited model may be there already.")
    seconds: float | None = Field(description="By what such jobs took here. null: none was done yet.")


class Plan(Resource):
    """What `POST /v1/edits:validate` answers. Nothing is edited, and no edit is listed for it."""

    object: Literal["plan"] = "plan"
    request: EditRequest = Field(description="As it would be accepted, with all defaults filled in.")
    request_digest: str
    removals: list[PlannedRemoval]
    edits: list[PlannedEdit]
    conflicts: list[Conflict] = Field(description="Warnings. Contradictions are refused with 409 or 422.")
    estimate: PlanEstimate
