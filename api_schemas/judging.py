"""What the judging phase found: scores with intervals, the gates, and what was kept."""

from typing import Literal

from pydantic import Field

from api_schemas.base import ReportModel
from api_schemas.gates import Comparator, Measure, PublishPolicy

Verdict = Literal["passed", "failed", "inconclusive"]


class Estimate(ReportModel):
    """A measured figure with its confidence interval."""

    value: float
    low: float
    high: float
    n: int = Field(description="Number of prompts the figure rests on.")


class GroupScore(ReportModel):
    """A group of prompts judged before and after the edit at the same seeds."""

    group: Literal["target", "generality", "neighbours", "retain"]
    removal: int | None = Field(description="Index into the removals; None where the group belongs to all.")
    asks: Literal["object", "style", "both"] = Field(description="What the judge was asked to recognise.")
    judge: str = Field("", description="Id of the judge and the first 12 digits of its digest.")
    prompts: list[str] = Field(description="In the order in which they were drawn.")
    accuracy_before: Estimate
    accuracy_after: Estimate
    accuracy_drop: Estimate = Field(description="Paired by prompt: before minus after.")
    score_before: Estimate = Field(description="Judge similarity of image and described class, cosine.")
    score_after: Estimate
    clip_before: Estimate | None = Field(None, description="CLIPScore of image and prompt: 100 cosine, at least 0.")
    clip_after: Estimate | None = None


class Check(ReportModel):
    """A gate, fixed before the run, and what came of it."""

    name: str
    removal: int | None
    measured: Estimate = Field(description="With the interval for so many prompts, had their number been fixed.")
    threshold: float
    outcome: Verdict
    measure: Measure = "target_accuracy"
    comparator: Comparator = "<="
    minimum_n: int = Field(1, description="With fewer prompts the gate is inconclusive.")
    always_valid: tuple[float, float] = Field(
        (-1.0, 1.0), description="The interval that holds however often one has looked: what early stopping goes by."
    )
    settled: Literal["early", "at the end", "open"] = Field(
        "open",
        description="Whether the gate was told before all its prompts were drawn, by all of them, or not at all.",
    )
    images: int = Field(0, description="Images of the edited model that it took.")
    planned: int = Field(0, description="Images that it would have taken at most.")
    observations: list[float] = Field([], description="One for each prompt, in the order drawn: all that decides it.")
    control: list[float] = Field(
        [], description="The unedited model's, where the gate asks whether something is gone: it must have been there."
    )


class HarmonicScore(ReportModel):
    """One figure for a removal: the harmonic mean of efficacy, specificity and generality (MACE, CVPR 2024)."""

    removal: int
    efficacy: float = Field(description="1 less the accuracy on prompts that name the concept.")
    specificity: float = Field(description="Accuracy on neighbours and on unrelated prompts, asked for the same kind.")
    generality: float = Field(description="1 less the accuracy on other names and on wordings that the edit never saw.")
    harmonic: Estimate


class Drift(ReportModel):
    """How far the text encoder's last states move, relative to their norm."""

    prompts: int = Field(description="About what must stay; in wordings that the edit never saw.")
    mean: float
    p95: float
    max: float
    bos: float = Field(description="At the first position, the same in every prompt.")
    null_prompt: float = Field(description="Of the empty prompt, which guidance leans on.")


class Preservation(ReportModel):
    """Images of unrelated prompts before and after, at the same seeds."""

    judge: str = Field(description="Whose features the distances are in.")
    images: int
    ssim: Estimate = Field(description="Structural similarity, 1 for equal images (Wang et al. 2004).")
    distance: Estimate = Field(
        description="Like LPIPS: squared distance of unit feature vectors of every patch, summed over the vision "
        "tower's layers and averaged over patches. 0 for equal images."
    )
    kid: Estimate | None = Field(None, description="Kernel inception distance on judge features; None: too few images.")
    cmmd: Estimate | None = Field(None, description="CMMD on judge features, times 1000; None: too few images.")
    drift: Drift | None = None


class JudgeRecord(ReportModel):
    """Who judged. Never the edited encoder."""

    id: str
    sha256: str
    shares_weights_with_model: bool


class SamplerRecord(ReportModel):
    """How the images were drawn."""

    scheduler: str
    steps: int
    guidance: float
    seeds: list[int]
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Of the arithmetic; weights are float32.")


class Validation(ReportModel):
    """Images before and after, judged."""

    judge: JudgeRecord
    sampler: SamplerRecord
    confidence: float
    groups: list[GroupScore]
    checks: list[Check]
    policy: str | None = Field(None, description="Name of the policy that the gates come from; None: the request.")
    policy_sha256: str = Field("", description="Over the gates as they were fixed before anything was drawn.")
    publish_policy: PublishPolicy = "always"
    method: str = Field("", description="How the gates were decided.")
    images: int = Field(0, description="Prompts times seeds that were drawn, once before and once after.")
    planned: int = Field(0, description="The same had nothing stopped early.")
    harmonics: list[HarmonicScore] = Field([])
    preservation: Preservation | None = None
