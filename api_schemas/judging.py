"""Results of the validation phase: scores with intervals, gates, preservation."""

from typing import Literal

from pydantic import ConfigDict, Field

from api_schemas.base import ReportModel
from api_schemas.gates import Comparator, Measure, PublishPolicy
from api_schemas.kinds import ConceptKind
from api_schemas.refinement import RefinementRecord

Verdict = Literal["passed", "failed", "inconclusive"]
ChoiceRule = Literal["all", "neighbours", "prompts", "detector", "likeness"]
PreprocessingSource = Literal["preprocessor_config.json", "processor_config.json", "model type"]


GroupName = Literal["target", "generality", "neighbours", "retain", "destination", "styled_objects", "other_removed"]


class Estimate(ReportModel):
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float
    n: int = Field(description="Number of prompts that the estimate is based on.")


class ChoiceRecord(ReportModel):
    """What the judge chose from."""

    rule: ChoiceRule = Field(
        description="`all`: all names of the kind. `neighbours`: the concept, its neighbours, its replacement and one name of "
        "each other group. `prompts`: the names in the prompts, and what was removed. `detector`: whether a detector finds the "
        "content. `likeness`: whether a face is that of the person in the base model's images."
    )
    count: int = Field(description="Number of names.")
    names: list[str] = Field([], description="The names, unless they are all of the kind.")
    threshold: float | None = Field(
        None, description="Minimum score of a detection, or minimum similarity of two faces of one person."
    )


class NameRecognition(ReportModel):
    """How often the judge recognised a name in images of the base model."""

    kind: ConceptKind
    name: str
    recognised: Estimate


class RecognitionRecord(ReportModel):
    """Which names the judge recognises in images of the base model, measured before the edit was evaluated."""

    minimum: float = Field(description="Share of a name's images in which it had to be recognised, set by the profile.")
    names: int = Field(description="Number of names that were measured.")
    images: int = Field(description="Number of images of the base model that they were measured on.")
    left_out: list[NameRecognition] = Field(
        description="Names that are left out of neighbours and retained prompts: whether they were preserved is not known."
    )


class GroupScore(ReportModel):
    """Scores of a prompt group before and after the edit, with the same seeds."""

    group: GroupName = Field(
        description="`target`: prompts that name the concept, in wordings that the edit used. `generality`: in held-out "
        "wordings. `neighbours`, `retain`: about concepts to preserve. `destination`: held-out prompts of the concept, which "
        "must show its replacement. `styled_objects`: held-out prompts in a removed style, which must show their object. "
        "`other_removed`: all prompts of the concept, which must not show another removed concept."
    )
    removal: int | None = Field(description="Index of the removal; None if the group belongs to all.")
    asks: ConceptKind | Literal["both"] = Field(description="What the judge had to recognise.")
    judge: str = Field("", description="Id of the judge, or detector, and the first 12 digits of its digest.")
    choices: ChoiceRecord | None = Field(None, description="What it chose from.")
    prompts: list[str] = Field(description="In the order in which images were generated.")
    seen_prompts: int = Field(0, description="Number of these prompts that the edit was computed from.")
    accuracy_before: Estimate = Field(
        description="On the base model's images; of `destination` and `styled_objects`, on its images of the prompts that "
        "the concept's prompts should now read as."
    )
    accuracy_after: Estimate
    accuracy_drop: Estimate = Field(description="Paired by prompt: before minus after.")
    score_before: Estimate = Field(description="Cosine similarity of image and class description, by the judge.")
    score_after: Estimate
    clip_before: Estimate | None = Field(
        None, description="CLIPScore of image and prompt: 100 times the cosine, at least 0."
    )
    clip_after: Estimate | None = None


class Check(ReportModel):
    """A gate, fixed before the run, and its outcome."""

    name: str
    removal: int | None
    measured: Estimate = Field(description="With the interval for a fixed number of prompts.")
    threshold: float
    outcome: Verdict
    reason: str = Field("", description="Why the gate is inconclusive.")
    measure: Measure = "target_accuracy"
    comparator: Comparator = "<="
    minimum_n: int = Field(1, description="With fewer prompts the gate is inconclusive.")
    always_valid: tuple[float, float] = Field(
        (-1.0, 1.0), description="Interval that is valid at every interim analysis; early stopping is based on it."
    )
    settled: Literal["early", "at the end", "open"] = Field(
        "open",
        description="Whether the gate was decided before all images were generated, after all of them, or not at all.",
    )
    images: int = Field(0, description="Number of images of the edited model that were evaluated.")
    planned: int = Field(0, description="Maximum number of images.")
    observations: list[float] = Field(
        [], description="One value per prompt, in the order of generation: the data that decides the gate."
    )
    control: list[float] = Field(
        [],
        description="The same values on the unedited model, if the gate tests absence: the concept must have been present"
        " there. Of a gate on the replacement, or on the objects of a removed style: whether the base model shows it for its "
        "own prompts.",
    )
    rounds: int = Field(
        1,
        description="Number of times that each prompt was used, with further seeds each time. Above 1, `observations` are "
        "means over the rounds, and only the final interval decides.",
    )
    left_out: int = Field(
        0,
        description="Number of prompts without an observation: the judge sees the concept in their images, but also in the "
        "unedited model's images of what they should read as. If these are more than a tenth of the prompts about a removed "
        "concept, all are observed.",
    )


class HarmonicScore(ReportModel):
    """Harmonic mean of efficacy, specificity and generality of a removal (MACE, CVPR 2024)."""

    removal: int
    efficacy: float = Field(description="1 minus the accuracy on prompts that name the concept.")
    specificity: float = Field(description="Accuracy on neighbours and on unrelated prompts of the same kind.")
    generality: float = Field(
        description="1 minus the accuracy on other names and on wordings that the edit did not use."
    )
    harmonic: Estimate


class Drift(ReportModel):
    """Relative change of the text encoder's final hidden states."""

    prompts: int = Field(
        description="Number of prompts: about concepts to preserve, in wordings that the edit did not use."
    )
    mean: float
    p95: float
    max: float
    bos: float = Field(description="At the first position, which is the same in every prompt.")
    null_prompt: float = Field(description="On the empty prompt, which classifier-free guidance uses.")


class Preservation(ReportModel):
    """Similarity of images of unrelated prompts before and after, with the same seeds."""

    judge: str = Field(description="The judge whose features the distances are computed on.")
    images: int
    ssim: Estimate = Field(description="Structural similarity, 1 for equal images (Wang et al. 2004).")
    distance: Estimate = Field(
        description="Like LPIPS: squared distance of the unit feature vectors of each patch, summed over the vision "
        "tower's layers and averaged over patches. 0 for equal images."
    )
    kid: Estimate | None = Field(
        None, description="Kernel inception distance on the judge's features; None: too few images."
    )
    cmmd: Estimate | None = Field(None, description="CMMD on the judge's features, times 1000; None: too few images.")
    drift: Drift | None = None


class ImagePreprocessing(ReportModel):
    """How the judge's image processor resizes and normalises images."""

    source: PreprocessingSource = Field(
        description="The file that says so; `model type` if the judge has none, so the published values of its type are used."
    )
    size: list[int] = Field(
        description="Height and width in pixels, or the length of the shortest edge; empty if the judge takes any size."
    )
    interpolation: str
    mean: list[float]
    std: list[float]


class JudgeRecord(ReportModel):
    """The judge. It is never the edited encoder."""

    id: str
    sha256: str
    shares_weights_with_model: bool
    preprocessing: ImagePreprocessing | None = Field(
        None, description="How the judge reads images; None if it does not say."
    )


class SamplerRecord(ReportModel):
    """How the images were generated."""

    scheduler: str
    steps: int
    guidance: float
    seeds: list[int]
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Precision of matrix products; on a CPU weights are float32."
    )
    height: int | None = Field(None, description="In pixels; None: the size that the model was trained on.")
    width: int | None = Field(None, description="In pixels; None: the size that the model was trained on.")
    device: str = Field("cpu", description="Type of the device that generated the images.")
    batch_size: int | None = Field(None, description="Images generated at once.")
    out_of_memory: list[int] = Field([], description="Batch sizes that were tried before and did not fit the memory.")
    components: dict[str, str] = Field(
        {}, description="sha256 of each file that the model lacked, by its path in the folder of components."
    )


class Validation(ReportModel):
    """The evaluation of images before and after the edit."""

    model_config = ConfigDict(title="ValidationRecord")  # `edits.Validation` is the request for it

    judge: JudgeRecord
    sampler: SamplerRecord
    confidence: float
    groups: list[GroupScore]
    checks: list[Check]
    policy: str | None = Field(None, description="Name of the policy of the gates; None: they come from the request.")
    policy_sha256: str = Field("", description="Digest of the gates, which were fixed before any image was generated.")
    publish_policy: PublishPolicy = "always"
    method: str = Field("", description="How the gates were decided.")
    images: int = Field(
        0, description="Prompts times seeds for which images were generated, once before and once after."
    )
    planned: int = Field(0, description="The same without early stopping.")
    harmonics: list[HarmonicScore] = Field([])
    preservation: Preservation | None = None
    refinement: RefinementRecord | None = Field(
        None,
        description="The rounds in which the edit was strengthened; None: the first edit is the published one's only one.",
    )
    recognition: RecognitionRecord | None = Field(
        None, description="Names that judge and base model do not know; None if the profile does not ask for it."
    )
