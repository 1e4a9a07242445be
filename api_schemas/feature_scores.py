"""What features inside of the model say of an edit: a sparse autoencoder's, a linear probe's, a Diff-C classifier's."""

from typing import Literal

from pydantic import Field

from api_schemas.attacks import Rate
from api_schemas.base import ReportModel
from api_schemas.judging import Estimate


class ControlResidual(ReportModel):
    """How much of a kept concept's signal is left: it should be all."""

    concept: str
    features: list[int] = Field(description="What stands for it; none for a probe.")
    residual: float = Field(description="D_after / D_before, before the common damping is divided out.")


class Residual(ReportModel):
    """What is left of a concept's signal: 1 untouched, 0 gone, below 0 over-suppressed.

    D is the mean score of the concept's prompts less that of prompts about the controls, all read from the same model: what
    shifts every prompt alike cancels. The residual is D_after / D_before over the median of the same for the controls: what
    weakens every concept alike cancels too.
    """

    estimate: Estimate = Field(description="Interval: cluster bootstrap over prompts and controls, percentiles.")
    damping: Estimate = Field(description="g, the controls' median of D_after / D_before.")
    contrast_before: float = Field(description="D_before, in standard deviations of the controls' scores.")
    contrast_after: float
    auc_before: float = Field(description="Chance that a prompt about the concept scores above one about a control.")
    auc_after: float
    detected_before: Rate = Field(
        description="Above the score that 5 % of the controls' prompts reach on the base model."
    )
    detected_after: Rate
    controls: list[ControlResidual]


class FeatureChange(ReportModel):
    """One feature of the concept's prompts, before and after: where did it go?"""

    feature: int
    before: float = Field(description="Mean pre-activation, in standard deviations over the controls' prompts.")
    after: float
    controls_change: float = Field(description="How the same feature changed on the controls' prompts.")

    @property
    def change(self) -> float:
        """Above 0 it rose."""
        return self.after - self.before


class Place(ReportModel):
    """Where in the model features were read."""

    module: str
    timestep: int
    protocol: str = Field(description="What the model was given.")
    digest: str = Field(description="Of the instrument's files.")


class SaeScore(ReportModel):
    """An edit as a sparse autoencoder sees it that was trained on the original model."""

    removal: int = Field(description="Index into the removals.")
    place: Place
    features: list[int] = Field(description="What stands for the concept; empty where nothing does.")
    residual: Residual | None = Field(description="From pre-activations; None where no feature stands for the concept.")
    probe: Residual | None = Field(description="The same by a linear probe on the same activations.")
    fvu_before: float = Field(description="Share of variance that the autoencoder leaves unexplained.")
    fvu_after: float
    trusted: bool = Field(description="Whether the autoencoder still explains what it is shown.")
    why: str = Field(description="Why the score is trusted, or not.")
    changed: list[FeatureChange] = Field(description="The features that rose or fell most, the largest change first.")


class DiffCScore(ReportModel):
    """Whether a classifier of diffusion features finds the concept."""

    removal: int
    place: Place
    asked_for: Literal["prompt", "image", "nothing"] = Field(
        description="`prompt`: each model's images of the concept's prompts, read under these. `image`: the same images, read "
        "under the empty prompt. `nothing`: the base model's images, read under the empty prompt: hidden or gone?"
    )
    before: Estimate = Field(description="Probability of the concept.")
    after: Estimate
    found_before: Rate = Field(description="The concept is the likeliest class.")
    found_after: Rate


class FeatureScores(ReportModel):
    """All of them, for one edit."""

    sae: tuple[SaeScore, ...] = ()
    diffc: tuple[DiffCScore, ...] = ()
