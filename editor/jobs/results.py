"""The results of a job's phases, as they are stored between them."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import load
from torch import Tensor

from api_schemas.attacks import AttackRecord
from api_schemas.conflicts import Conflict
from api_schemas.detectors import DetectorRecord
from api_schemas.feature_scores import FeatureScores
from api_schemas.gates import Policy
from api_schemas.plans import PlanEstimate
from api_schemas.refinement import RefinementRecord
from api_schemas.report import RemovalRecord, SolveRecord, TraceRecord, Validation, Verdict
from editor.checkpoints import Checkpoint
from editor.checkpoints.tensor_update import TensorUpdate, make_tensor_update
from editor.io.aligned_tensors import align_tensors
from editor.io.figures import Picture
from editor.judging.comparison_pack import ComparisonPack
from editor.judging.gates import combine_verdicts
from editor.ledger import Ledger
from editor.sites.shared_weights import SharedWeights


class PhaseResult(BaseModel):
    """Base class of phase results. Bytes are stored as base64."""

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")


class TraceResult(PhaseResult):
    """The result of the trace phase."""

    policy: Policy
    """The gates, fixed before anything is measured."""
    traces: list[TraceRecord] = Field(default_factory=list)
    """Empty without validation: there is no judge to read out the effects with."""
    estimate: PlanEstimate | None = None
    """The cost of the validation, as it was estimated before anything was generated."""


class ValidationResult(PhaseResult):
    """The result of the validate phase; empty if the request turns validation off."""

    validation: Validation | None = None
    attacks: list[AttackRecord] = Field(default_factory=list)
    detectors: list[DetectorRecord] = Field(default_factory=list)
    features: FeatureScores | None = None
    sheets: list[Picture] = Field(default_factory=list)
    """Sample sheets: images of the same prompts before and after the edit."""
    comparison: ComparisonPack | None = None
    """Images before and after the edit with scores; None if names are withheld, because its prompts contain them."""

    @property
    def verdict(self) -> Verdict | None:
        """The verdict over all gates; None without validation."""
        return combine_verdicts([check.outcome for check in self.validation.checks]) if self.validation else None

    def with_components(self, digests: Mapping[str, str]) -> "ValidationResult":
        """Return the result with the digests of the files that the model lacked to generate images."""
        if self.validation is None or not digests:
            return self
        sampler = self.validation.sampler.model_copy(update={"components": dict(digests)})
        return self.model_copy(update={"validation": self.validation.model_copy(update={"sampler": sampler})})

    def with_refinement(self, record: RefinementRecord) -> "ValidationResult":
        """Return the result with the record of the rounds."""
        assert self.validation, "a refined edit was validated"
        return self.model_copy(update={"validation": self.validation.model_copy(update={"refinement": record})})

    @property
    def refusal(self) -> str | None:
        """Why the publish policy withholds the weights; None if it allows them."""
        if self.validation is None or self.validation.publish_policy == "always" or self.verdict == "passed":
            return None
        return f"No weights were published: the policy requires the verdict “passed”, and it is “{self.verdict}”."


class EditResult(PhaseResult):
    """The result of the edit phase."""

    removals: list[RemovalRecord]
    solves: list[SolveRecord]
    """One for each updated tensor."""
    factors: bytes
    """A safetensors file with the low-rank factors of each update: ``0.up``, ``0.down``, ``1.up``, ..."""
    ledger: Ledger | None = None
    """The ledger as it will be once this edit is delivered."""
    warnings: list[Conflict] = Field(default_factory=list)
    """Conflicts between the request and the ledger. They name other people's removals, so the report omits them."""

    def updates(self, checkpoint: Checkpoint) -> list[TensorUpdate]:
        """Return the tensor updates; the original tensors are read from the checkpoint."""
        factors = align_tensors(load(self.factors))
        return [
            update
            for i, solve in enumerate(self.solves)
            for update in updates_of_solve(checkpoint, solve, factors[f"{i}.up"], factors[f"{i}.down"])
        ]

    @property
    def layers(self) -> set[int]:
        """The edited layers of the text encoders."""
        return {solve.layer for solve in self.solves if solve.layer is not None}


def updates_of_solve(checkpoint: Checkpoint, solve: SolveRecord, up: Tensor, down: Tensor) -> list[TensorUpdate]:
    """Return the updates that the factors of a solve give: of one tensor, or of all that read one stream."""
    if solve.layer is not None:
        return [make_tensor_update(checkpoint.encoder(solve.component), solve.tensor, up, down)]
    return SharedWeights(checkpoint.require_denoiser(), tuple(solve.shared_by), len(up)).updates(up, down)
