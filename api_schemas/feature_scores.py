"""Scores of an edit by features inside the model: a sparse autoencoder's, a linear probe's, a Diff-C classifier's."""

from typing import Literal

from pydantic import Field

from api_schemas.attacks import Rate
from api_schemas.base import ReportModel
from api_schemas.judging import Estimate


class ControlResidual(ReportModel):
    """The remaining signal of a control concept, which should be 1."""

    concept: str
    features: list[int] = Field(description="Features that represent the concept; empty for a probe.")
    residual: float = Field(description="D_after / D_before, before division by the common damping.")


class Residual(ReportModel):
    """The remaining signal of a concept: 1 unchanged, 0 erased, below 0 over-suppressed.

    D is the mean score of the concept's prompts minus that of prompts about control concepts, both in the same model, so a
    shift common to all prompts cancels. The residual is D_after / D_before divided by the controls' median of the same ratio,
    so a damping common to all concepts cancels as well.
    """

    estimate: Estimate = Field(description="Percentile interval of a cluster bootstrap over prompts and controls.")
    damping: Estimate = Field(description="g, the controls' median of D_after / D_before.")
    contrast_before: float = Field(description="D_before, in standard deviations of the controls' scores.")
    contrast_after: float
    auc_before: float = Field(
        description="Probability that a prompt about the concept scores higher than one about a control."
    )
    auc_after: float
    detected_before: Rate = Field(
        description="Share above the score that 5 % of the controls' prompts exceed on the base model."
    )
    detected_after: Rate
    controls: list[ControlResidual]


class FeatureChange(ReportModel):
    """The change of one feature on the concept's prompts."""

    feature: int
    before: float = Field(description="Mean pre-activation, in standard deviations over the controls' prompts.")
    after: float
    controls_change: float = Field(description="Change of the same feature on the controls' prompts.")

    @property
    def change(self) -> float:
        """The change, above 0 if the feature rose."""
        return self.after - self.before


class Place(ReportModel):
    """The location in the model at which features were read."""

    module: str
    timestep: int
    protocol: str = Field(description="The input that the model was given.")
    digest: str = Field(description="Digest of the files of the autoencoder or classifier.")


class SaeScore(ReportModel):
    """The score of an edit by a sparse autoencoder that was trained on the original model."""

    removal: int = Field(description="Index of the removal.")
    place: Place
    features: list[int] = Field(description="Features that represent the concept; empty if there are none.")
    residual: Residual | None = Field(description="From pre-activations; None if no feature represents the concept.")
    probe: Residual | None = Field(description="The same by a linear probe on the same activations.")
    fvu_before: float = Field(description="Fraction of variance that the autoencoder does not explain (FVU).")
    fvu_after: float
    trusted: bool = Field(description="Whether the autoencoder still reconstructs the edited model's activations.")
    why: str = Field(description="Why the score is trusted or not.")
    changed: list[FeatureChange] = Field(description="The features that changed most, by absolute change.")


class DiffCScore(ReportModel):
    """Whether a Diff-C classifier detects the concept."""

    removal: int
    place: Place
    asked_for: Literal["prompt", "image", "nothing"] = Field(
        description="`prompt`: each model's images of the concept's prompts, read under these prompts. `image`: the same "
        "images under the empty prompt. `nothing`: the base model's images under the empty prompt, which "
        "tells hidden from erased concepts."
    )
    before: Estimate = Field(description="Probability of the concept.")
    after: Estimate
    found_before: Rate = Field(description="Share of images in which the concept is the most likely class.")
    found_after: Rate


class FeatureScores(ReportModel):
    """The feature scores of one edit."""

    sae: tuple[SaeScore, ...] = ()
    diffc: tuple[DiffCScore, ...] = ()
