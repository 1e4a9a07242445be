"""The audit report: what was removed, what was preserved, how it was measured, and what was not tested."""

from datetime import datetime
from typing import Literal

from pydantic import Field, model_validator

from api_schemas.attacks import AttackRecord
from api_schemas.base import ReportModel
from api_schemas.detectors import DetectorRecord
from api_schemas.edit_options import MethodName, SiteName, rename_preset
from api_schemas.feature_scores import FeatureScores
from api_schemas.judging import Check as Check
from api_schemas.judging import Estimate as Estimate
from api_schemas.judging import GroupScore as GroupScore
from api_schemas.judging import HarmonicScore as HarmonicScore
from api_schemas.judging import ImagePreprocessing as ImagePreprocessing
from api_schemas.judging import JudgeRecord as JudgeRecord
from api_schemas.judging import Preservation as Preservation
from api_schemas.judging import SamplerRecord as SamplerRecord
from api_schemas.judging import Validation as Validation
from api_schemas.judging import Verdict as Verdict
from api_schemas.kinds import ConceptKind

SiteKind = Literal["self_attention", "mlp"]


class ModelRecord(ReportModel):
    """The base model, identified by the digests of its files."""

    id: str
    family: str
    files: dict[str, str] = Field(description="SHA-256 of each file, by path inside the model.")


class ProfileRecord(ReportModel):
    """The profile that the prompts were built from and the judge chose from."""

    name: Literal["general", "model", "given"] = Field(
        description="`general`: the shipped one; `model`: the model's own; `given`: one that was used in its place."
    )
    sha256: str = Field(description="SHA-256 of the profile, as `expunge profiles show PROFILE --json` prints it.")


NameSource = Literal["concept", "alias", "title", "translation", "plural", "spelling"]


class NameRecord(ReportModel):
    """A name of a removed concept."""

    text: str
    source: NameSource


class ReplacementCandidate(ReportModel):
    """A name that was compared as the automatic replacement of a concept."""

    name: str
    change: float = Field(description="Forecast relative change of the prompts to retain, with this replacement.")
    cost: float | None = Field(
        None,
        description="Expected shares of images that fail the default gates, each relative to its threshold, if the concept is "
        "removed alone with this replacement. None: not computed, because others change the prompts to retain less, or because "
        "many removals have no replacement.",
    )
    similarity: float | None = Field(None, description="Similarity to the concept by the judge; None without a judge.")
    told_apart: bool = Field(
        True, description="Whether the judge tells it apart from the concept. Else it is not used."
    )


class RemovalRecord(ReportModel):
    """A removed concept, as the edit resolved it."""

    concept: str
    kind: ConceptKind
    destination: str = Field(description="Concept that the prompts now map to; empty for the null concept.")
    destination_source: Literal["replacement", "auto", "generic", "null"] = Field(
        description="`replacement`: named by the request. `auto`: chosen among the candidates. `generic`: the concept's class. "
        "`null`: the null concept, or a style's absence."
    )
    candidates: list[ReplacementCandidate] = Field(
        [],
        description="Names that were compared as the automatic replacement, best first. The first that is told apart and that "
        "nobody removes is used.",
    )
    aliases: list[str]
    withheld: str | None = Field(
        None,
        description="If names are withheld, the salted SHA-256 of the concept; all names here are then placeholders.",
    )
    names: list[NameRecord] = Field(
        [],
        description="Every name that the edit covers, with its source: those about as far gone as the concept itself.",
    )
    uncovered_names: list[NameRecord] = Field(
        [],
        description="Names that were part of the edit and remain nearer to their original meaning than the concept does.",
    )
    edit_prompts: list[str] = Field(description="Prompts whose keys and values were used in the solve.")
    neighbours: list[str] = Field(
        description="Nearest concepts, which the preservation term protects and the validation tests."
    )


class TradeOffPoint(ReportModel):
    """A preservation weight, evaluated in text space on held-out prompts."""

    preservation: float
    removed: float = Field(
        description="How far the concept moved to the replacement (1: completely), mean over removals."
    )
    least_removed: float = Field(0.0, description="The same for the removal that moved least.")
    destination: float = Field(
        0.0,
        description="Predicted share of held-out target prompts whose images show the destination, mean over removals.",
    )
    least_destination: float = Field(0.0, description="The same for the removal with the smallest share.")
    kept: float = Field(
        0.0,
        description="Predicted share of held-out retain prompts whose images show what they did. The search maximizes the sum "
        "of `destination` and `kept`.",
    )
    retained: float = Field(description="1 minus the mean relative drift of the retain prompts' embeddings.")
    predicted_retain_p95: float = Field(description="95th percentile of that drift.")


class ForeseenChange(ReportModel):
    """Predicted change of a prompt, computed before any image is generated."""

    prompt: str
    change: float = Field(description="Relative change of the edited layer's attention output. Exact.")
    moved: float | None = Field(
        None,
        description="Relative change of the encoder's final hidden states at EOS and padding. Exact for a small encoder, "
        "within 0.035 for a large one; absent if it was not computed, for prompts that change little.",
    )
    drop: float | None = Field(None, description="Predicted probability that the prompt loses what it asks for.")


class ForeseenRemoval(ReportModel):
    """Predicted residual of a concept, computed before any image is generated."""

    concept: str
    kind: ConceptKind
    weight: float = Field(1.0, description="Weight of its prompts: above 1 if it would otherwise be under-fitted.")
    leak: float = Field(
        description="Share of a single key's change that preservation holds back, 1/(1+q); 1: infeasible."
    )
    left: float = Field(description="Share of the concept that remains after the joint update of all removals.")
    destination: float | None = Field(
        None,
        description="Predicted share of its held-out prompts whose images show what they are mapped to; None: not measured.",
    )


class ObjectiveRecord(ReportModel):
    """What is needed, besides model, profile and removals, to recompute the objective of a solve."""

    role_weights: dict[str, float] = Field(description="Total weight of each role of tokens in an edit prompt.")
    word_weight: float = Field(description="Total weight of the words of a retain prompt; EOS and padding have 1 each.")
    padding_positions: int = Field(description="Padding positions that represent all of a prompt's padding.")
    retain_prompts: int = Field(
        description="Number of retain prompts, `PromptBuilder.retain_texts` of the limit that was asked."
    )
    retain_limit: int
    retain_digest: str = Field(description="SHA-256 of the retain prompts in order, separated by newlines.")
    held_out_digest: str = Field(description="The same of the held-out retain prompts, on which the weight was chosen.")


class SolveRecord(ReportModel):
    """A closed-form solve: the update of one tensor of a text encoder, or of all tensors of a denoiser that read one stream."""

    method: MethodName
    component: str = Field(description="Component of the pipeline, such as `text_encoder` or `unet`.")
    site: SiteName = Field("text_encoder", description="Kind of site.")
    tensor: str = Field(description="Name of the changed tensor in transformers or diffusers; of several, the first.")
    shared_by: list[str] = Field([], description="All tensors that the solve changes. Empty: the one above.")
    layer: int | None = Field(None, description="Layer of the text encoder; None in the denoiser.")
    of_mlp: bool = Field(False, description="Whether the layer's MLP was changed, and not its self-attention.")
    layer_choice: str = Field("", description="Why this layer was chosen.")
    columns: int = Field(description="Number of key columns of the removed concepts.")
    rank: int = Field(description="Exact rank of the update.")
    preservation: float
    ridge: float = Field(description="The ridge parameter lambda, in absolute units.")
    condition: float = Field(description="Upper bound of the condition number of the system that was solved.")
    relative_change: float = Field(description="Frobenius norm of the update divided by that of the weight.")
    null_prompt_drift: float = Field(
        description="Largest change of any output of the empty prompt at the edited layer."
    )
    predicted_retain_p95: float
    residual: float | None = Field(
        None,
        description="What this route still carries of the concepts: how far held-out prompts' values are from those of their "
        "destinations, relative to before the edit. 0: closed; 1: unchanged; None: in reports of earlier versions.",
    )
    seconds: float = Field(description="Wall time of the solve.")
    foreseen: list[ForeseenChange] = Field(
        [], description="The prompts with the largest predicted change, largest first."
    )
    feasibility: list[ForeseenRemoval] = Field([], description="Predicted residual of each concept, largest first.")
    warnings: list[str] = Field(
        [], description="What the solve could not do: read them before relying on the forecast."
    )
    objective: ObjectiveRecord | None = Field(None, description="None for other methods than `default`.")
    trade_off: list[TradeOffPoint]

    @property
    def sublayer(self) -> Literal["self_attention", "mlp"]:
        """The part of the layer that was changed, as the sites of a trace name it."""
        return "mlp" if self.of_mlp else "self_attention"

    _read_preset = model_validator(mode="before")(rename_preset)


class TensorRecord(ReportModel):
    """A replaced tensor, with digests of its bytes in the precision of the files and in other precisions.

    A deployment that casts the weights can then be recognised as well.
    """

    component: str
    name: str = Field(description="Name in transformers.")
    dtype: str = Field(description="Precision in the files, as safetensors names it: `F32`, `F16`, `BF16`.")
    base: dict[str, str] = Field(description="SHA-256 of the original tensor's bytes, by dtype.")
    edited: dict[str, str] = Field(description="SHA-256 of the edited tensor's bytes, by dtype.")


class CanaryRecord(ReportModel):
    """A canary: a prompt and its embeddings with and without the edit, which identify a deployment of the edit."""

    component: str
    removal: int = Field(description="Index of the removal.")
    prompt: str | None = Field(description="None if names are withheld.")
    base: str = Field(
        description="Final hidden state at EOS after the final norm, (width,): float16, little endian, base64."
    )
    edited: str = Field(description="The same with the edit.")


class CollateralBand(ReportModel):
    """Prompts with similar predicted damage."""

    lowest: float = Field(
        description="Smallest prediction of the band: probability that a prompt loses what it asks for."
    )
    highest: float
    foreseen: float = Field(description="Mean prediction.")
    measured: Estimate = Field(description="Mean drop of the judge's accuracy.")


class CollateralRecord(ReportModel):
    """Predicted against measured damage on retain prompts."""

    prompts: int
    foreseen: float
    measured: Estimate
    correlation: Estimate = Field(description="Spearman correlation over prompts.")
    bands: list[CollateralBand] = Field(description="In ascending order of prediction.")


class LedgerRecord(ReportModel):
    """The ledger of the edit. Its weights include every active removal."""

    digest: str = Field(
        description="Digest of base model and active removals. Equal digests mean byte-identical weights."
    )
    active: int = Field(description="Number of active removals, including this request's.")
    taken_back: list[str] = Field([], description="Concepts that this edit no longer removes.")


class SiteEffect(ReportModel):
    """Share of the judge's score that patching one site from the clean run restores."""

    layer: int
    kind: SiteKind
    effect: Estimate


class WordEffects(ReportModel):
    """What patching the self-attention at one word restores, layer by layer."""

    text: str = Field(description="The word; `end of text` and `padding` follow the last one.")
    subject: bool = Field(description="Whether the word names the concept, so that its tokens were corrupted.")
    effects: list[float] = Field(description="Share of the judge's score that is restored, by layer from 0.")


class WordTrace(ReportModel):
    """The trace of one prompt, word by word: the mean over a few draws of the noise, without intervals."""

    prompt: str = Field(description="The traced prompt on which the corruption loses as much as on the median one.")
    words: list[WordEffects]


class TraceRecord(ReportModel):
    """Causal mediation analysis of a text encoder at the last subject token."""

    removal: int = Field(description="Index of the removal.")
    component: str = Field("text_encoder", description="The traced text encoder.")
    read_out: str
    corruption: str = Field("noise, 3 standard deviations", description="How the concept's tokens were corrupted.")
    place: str = Field("last subject", description="Token positions at which sites were restored.")
    clean_score: float
    corrupted_score: float
    sites: list[SiteEffect]
    causal_site: str = Field(description="The site with the largest effect, as `layer N self_attention`.")
    edited_site_is_causal: bool
    separated: bool = Field(
        description="Whether the interval of the paired difference between the causal site and the runner-up lies above "
        "zero."
    )
    choice: str = Field("", description="The layer that the trace suggests, and why.")
    chosen_layer: int = Field(0, description="The suggested layer.")
    by_word: WordTrace | None = Field(
        None,
        description="None if names are withheld, if the corruption lost nothing, and in reports of earlier versions.",
    )


class ArtifactRecord(ReportModel):
    """A published file."""

    name: str
    kind: str
    size: int
    sha256: str


class AuditReport(ReportModel):
    """The audit report. `verdict` is None if validation was disabled."""

    schema_version: Literal["1"] = "1"
    job_id: str
    created_at: datetime
    model: ModelRecord
    profile: ProfileRecord | None = Field(None, description="The profile; None in reports of earlier versions.")
    removals: list[RemovalRecord]
    solves: list[SolveRecord] = Field(description="One record per changed tensor.")
    tensors: list[TensorRecord] = Field([], description="One record per changed tensor.")
    canaries: list[CanaryRecord] = Field([], description="Canary prompts, which identify a deployment of the edit.")
    traces: list[TraceRecord]
    ledger: LedgerRecord | None = None
    validation: Validation | None
    collateral: CollateralRecord | None = Field(
        None, description="Predicted against measured damage; None: too few images."
    )
    attacks: list[AttackRecord] = Field([], description="Results of the attacks.")
    detectors: list[DetectorRecord] = Field([], description="Counts of the detectors on the same images.")
    features: FeatureScores | None = Field(None, description="Scores by features inside the model.")
    verdict: Verdict | None
    limits: list[str] = Field(description="Known limitations of this removal.")
    untested: list[str] = Field(description="What this run did not measure.")
    lora_note: str | None = Field(
        None, description="Why there is no LoRA, or what cannot load it; None if there is one for all loaders."
    )
    refused: str | None = Field(None, description="Why no weights were published; None if they were.")
    signed_by: str | None = Field(None, description="Id of the key that signed all files; None: unsigned.")
    artifacts: list[ArtifactRecord]
    software: dict[str, str]
