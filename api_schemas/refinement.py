"""The closed loop: the budget of a request, and the record of what each round changed and brought."""

from typing import Literal

from pydantic import Field

from api_schemas.base import ReportModel, Request
from api_schemas.gates import Comparator, Measure

FinalVerdict = Literal["passed", "failed", "inconclusive"]
StopReason = Literal["margin", "rounds", "images"]


class RefinementBudget(Request):
    """How much a job may spend on strengthening an edit that did not pass."""

    rounds: int = Field(
        default=3,
        ge=0,
        le=20,
        description="Most rounds in which an edit that did not pass is changed and measured again. 0: the first verdict "
        "stands.",
    )
    images: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000,
        description="Most images that the rounds generate. Default: 400, or 2,000 for images of less than 256 pixels a side.",
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=1e7,
        description="Time that the rounds may take, by the estimated time of an image. Default: what the job's time limit "
        "leaves.",
    )


class MeasureRecord(ReportModel):
    """A gate's measure on the steering prompts. It steers and decides nothing."""

    measure: Measure
    removal: int | None
    value: float
    threshold: float
    comparator: Comparator
    prompts: int
    seeds: int = Field(1, description="Number of images of each prompt.")


class RoundRecord(ReportModel):
    """A candidate edit: what was changed, and what that brought on the steering prompts."""

    number: int = Field(description="0 is the edit that was validated first.")
    changes: list[str] = Field(description="What is different from the first edit.")
    measures: list[MeasureRecord]
    excess: float = Field(
        description="Sum of what the measures exceed their margins by, a quarter of the way from the ideal to the threshold."
    )
    images: int = Field(description="Number of images of this candidate.")


class RefinementRecord(ReportModel):
    """The rounds of a job whose first verdict was not `passed`, and the trade-off between them."""

    rounds: list[RoundRecord]
    published: int = Field(description="The round whose edit is published: the one with the least excess.")
    stopped: StopReason = Field(
        description="`margin`: all measures met their margins. `rounds`, `images`: the budget was used up."
    )
    first_verdict: FinalVerdict = Field(description="The verdict on the first edit.")
    confidence: float = Field(description="Confidence of the first and the final validation together.")
    steering_prompts: int = Field(
        description="Number of prompts that steered. None of them is in the final validation."
    )
