"""The audit report: what was removed, what was kept, how that was measured, and what was not tested."""

from datetime import datetime
from typing import Literal

from pydantic import Field

from api_schemas.attacks import AttackRecord
from api_schemas.base import ReportModel
from api_schemas.detectors import DetectorRecord
from api_schemas.feature_scores import FeatureScores
from api_schemas.judging import Check as Check
from api_schemas.judging import Estimate as Estimate
from api_schemas.judging import GroupScore as GroupScore
from api_schemas.judging import HarmonicScore as HarmonicScore
from api_schemas.judging import JudgeRecord as JudgeRecord
from api_schemas.judging import Preservation as Preservation
from api_schemas.judging import SamplerRecord as SamplerRecord
from api_schemas.judging import Validation as Validation
from api_schemas.judging import Verdict as Verdict

SiteKind = Literal["self_attention", "mlp"]


class ModelRecord(ReportModel):
    """The base model, pinned by the digests of its files."""

    id: str
    family: str
    files: dict[str, str] = Field(description="File name inside the model -> sha256 of its bytes.")


NameSource = Literal["concept", "alias", "title", "translation", "spelling"]


class NameRecord(ReportModel):
    """A name that the edit covers."""

    text: str
    source: NameSource


class RemovalRecord(ReportModel):
    """One removed concept, as the edit understood it."""

    concept: str
    kind: Literal["object", "style"]
    destination: str = Field(description="What the concept's prompts now mean; empty for the null concept.")
    destination_source: Literal["replacement", "generic", "null"]
    aliases: list[str]
    withheld: str | None = Field(
        None, description="Where names are withheld: salted SHA-256 of the concept's; all names here are stand-ins."
    )
    names: list[NameRecord] = Field([], description="Every name that the edit covers, and where it comes from.")
    edit_prompts: list[str] = Field(description="Prompts whose keys and values went into the solve.")
    neighbours: list[str] = Field(description="Nearest concepts, held in place by the preservation term and tested.")


class TradeOffPoint(ReportModel):
    """One preservation weight tried in text space on held-out prompts."""

    preservation: float
    removed: float = Field(
        description="Share of the way from concept to destination, 1 is all of it; mean over removals."
    )
    least_removed: float = Field(
        0.0, description="The same of the removal that goes least far: what the search goes by."
    )
    retained: float = Field(description="1 - mean relative drift of the retain prompts' embeddings.")
    predicted_retain_p95: float = Field(description="95th percentile of that drift.")


class ForeseenChange(ReportModel):
    """What an edit will do to a prompt, told before anything is drawn."""

    prompt: str
    change: float = Field(description="Of the edited layer's attention output, relative to its norm. Exact.")
    moved: float | None = Field(None, description="How far the encoder's last states move at EOS and padding. Exact.")
    drop: float | None = Field(
        None, description="Forecast from that: the chance that the prompt loses what it asks for."
    )


class ForeseenRemoval(ReportModel):
    """How far a concept will go, told before anything is drawn."""

    concept: str
    kind: Literal["object", "style"]
    weight: float = Field(1.0, description="What its prompts count: more than 1 where it would lag behind the others.")
    leak: float = Field(description="Share of a single key's way that preservation holds back, 1/(1+q); 1: infeasible.")
    left: float = Field(description="Share of the way that the update leaves, all removals together.")


class SolveRecord(ReportModel):
    """The closed-form update of one tensor."""

    preset: Literal["default", "paper"]
    component: str = Field(description="The pipeline's component: `text_encoder` or `text_encoder_2`.")
    tensor: str = Field(description="Name of the tensor that changed, as transformers names it.")
    layer: int
    layer_choice: str = Field("", description="Why this layer.")
    columns: int = Field(description="Key columns of the removed concepts.")
    rank: int = Field(description="Exact rank of the update.")
    preservation: float
    ridge: float = Field(description="Lambda as solved with, in absolute units.")
    condition: float = Field(description="Upper bound of the condition number of the solved system.")
    relative_change: float = Field(description="Frobenius norm of the update over that of the weight.")
    null_prompt_drift: float = Field(
        description="Largest change of any output of the empty prompt at the edited layer."
    )
    predicted_retain_p95: float
    seconds: float = Field(description="Wall time of the solve itself.")
    foreseen: list[ForeseenChange] = Field([], description="The prompts that will change most, worst first.")
    feasibility: list[ForeseenRemoval] = Field([], description="What will be left of each concept, worst first.")
    trade_off: list[TradeOffPoint]


class TensorRecord(ReportModel):
    """A tensor that was replaced, by digests of its bytes: in the precision of the files, and cast to others.

    A deployment may have cast the weights; it carries the edit all the same.
    """

    component: str
    name: str = Field(description="As transformers names it.")
    dtype: str = Field(description="Of the files, as safetensors writes it: `F32`, `F16`, `BF16`.")
    base: dict[str, str] = Field(description="dtype -> sha256 of the original's bytes in it.")
    edited: dict[str, str] = Field(description="dtype -> sha256 of the edited tensor's bytes in it.")


class CanaryRecord(ReportModel):
    """A prompt, and what a text encoder makes of it with and without the edit: tells whether a deployment carries it."""

    component: str
    removal: int = Field(description="Index into the removals.")
    prompt: str | None = Field(description="None where names are withheld.")
    base: str = Field(
        description="The last state at EOS, after the final norm, (width,): float16, little endian, base64."
    )
    edited: str = Field(description="The same with the edit.")


class CollateralBand(ReportModel):
    """Prompts of which much the same was foreseen."""

    lowest: float = Field(description="Least forecast of the band: chance that a prompt loses what it asks for.")
    highest: float
    foreseen: float = Field(description="Mean forecast.")
    measured: Estimate = Field(description="Mean fall of the judge's accuracy.")


class CollateralRecord(ReportModel):
    """What was foreseen of prompts about what must stay, against what was measured on their pictures."""

    prompts: int
    foreseen: float
    measured: Estimate
    correlation: Estimate = Field(description="Spearman's, over prompts.")
    bands: list[CollateralBand] = Field(description="Least foreseen first.")


class LedgerRecord(ReportModel):
    """The ledger that an edit belongs to: its weights carry all that is active in it."""

    digest: str = Field(description="Of base model and active set: equal digests mean byte-identical weights.")
    active: int = Field(description="Active removals, this request's included.")
    taken_back: list[str] = Field([], description="Concepts that this edit no longer removes.")


class SiteEffect(ReportModel):
    """The restored share of the judge's score when one site is put back from the clean run."""

    layer: int
    kind: SiteKind
    effect: Estimate


class TraceRecord(ReportModel):
    """Causal mediation analysis of the text encoder at the last subject token."""

    removal: int = Field(description="Index into the removals.")
    read_out: str
    corruption: str = Field("noise, 3 standard deviations", description="What was done to the concept's tokens.")
    place: str = Field("last subject", description="Where in the prompts the sites were restored.")
    clean_score: float
    corrupted_score: float
    sites: list[SiteEffect]
    causal_site: str = Field(description="The site with the largest effect, as `layer N self_attention`.")
    edited_site_is_causal: bool
    separated: bool = Field(
        description="The causal site is ahead of the runner-up: the interval of their paired difference lies above zero."
    )
    choice: str = Field("", description="Which layer the trace speaks for, and why.")
    chosen_layer: int = Field(0, description="That layer.")


class ArtifactRecord(ReportModel):
    """A published file."""

    name: str
    kind: str
    size: int
    sha256: str


class AuditReport(ReportModel):
    """The whole report. `verdict` is None when validation was not asked for."""

    schema_version: Literal["1"] = "1"
    job_id: str
    created_at: datetime
    model: ModelRecord
    removals: list[RemovalRecord]
    solves: list[SolveRecord] = Field(description="One for each tensor that changed.")
    tensors: list[TensorRecord] = Field([], description="One for each tensor that changed.")
    canaries: list[CanaryRecord] = Field([], description="For telling whether a deployment carries the edit.")
    traces: list[TraceRecord]
    ledger: LedgerRecord | None = None
    validation: Validation | None
    collateral: CollateralRecord | None = Field(None, description="Foreseen against measured; None: too little drawn.")
    attacks: list[AttackRecord] = Field([], description="What was tried to get the concepts back.")
    detectors: list[DetectorRecord] = Field([], description="What detectors counted on the same pictures.")
    features: FeatureScores | None = Field(None, description="What features inside of the model say.")
    verdict: Verdict | None
    limits: list[str] = Field(description="What is known not to be covered by this removal.")
    untested: list[str] = Field(description="What this run did not measure.")
    lora_note: str | None = Field(None, description="Why there is no LoRA; None when there is one.")
    refused: str | None = Field(None, description="Why no weights were published; None when they were.")
    signed_by: str | None = Field(None, description="Id of the key that signs all files; None: nobody signed.")
    artifacts: list[ArtifactRecord]
    software: dict[str, str]
