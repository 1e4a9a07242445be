"""The closed loop: measure an edit that did not pass, strengthen it, and measure again.

Each round is stored as a phase result, so a job that is interrupted resumes at its round. The prompts that steer decide
nothing: the candidate with the least excess is validated once more on the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from pydantic import Field

from api_schemas.edits import EditRequest
from api_schemas.gates import Policy
from api_schemas.plans import PlanEstimate
from api_schemas.refinement import MeasureRecord, RefinementRecord, RoundRecord, StopReason
from editor.io.progress import report_fraction
from editor.jobs.model import Model
from editor.jobs.phase_store import PhaseStore
from editor.jobs.results import EditResult, PhaseResult, ValidationResult
from editor.jobs.strengthening import Measured, describe_adjustments, next_adjustments, read_measures
from editor.jobs.validate_phase import open_evaluations
from editor.judging.deciding import (
    FIRST_KEPT,
    Deciding,
    can_pass,
    final_validation,
    learning_prompts,
    steering_evaluations,
    steering_prompts,
)
from editor.judging.evaluation import GroupEvaluation, run_evaluations
from editor.judging.image_pairs import ImagePairGenerator
from editor.judging.judge import Judge
from editor.methods.adjustments import NO_ADJUSTMENTS, SolveAdjustments
from editor.methods.config import SPREAD_LAYERS
from editor.prompts import ResolvedRemoval
from editor.prompts.concepts import ConceptKind, Phrase

SMALL_SIDE = 256
"""Pixels below which images are cheap."""
DEFAULT_IMAGES, DEFAULT_SMALL_IMAGES = 400, 2000
"""Images that the rounds may generate unless the request says otherwise."""
SMALL_SEEDS = 3
"""Seeds of a steering prompt where images are cheap: 42 images hardly tell a drop of 0.01 from one of 0.03."""


class Round(PhaseResult):
    """A candidate edit, and what it was measured to do."""

    edit: EditResult | None = None
    """None in round 0, whose edit is that of the edit phase."""
    adjustments: SolveAdjustments = NO_ADJUSTMENTS
    measures: list[MeasureRecord] = Field(default_factory=list)
    leaked: list[tuple[int, Phrase]] = Field(default_factory=list)
    fallen: list[tuple[ConceptKind, str]] = Field(default_factory=list)
    images: int = 0

    @property
    def measured(self) -> Measured:
        """What was measured."""
        return Measured(tuple(self.measures), tuple(self.leaked), tuple(self.fallen))


class RefinedResult(PhaseResult):
    """The result of the loop."""

    edit: EditResult | None = None
    """The edit to publish; None for that of the edit phase."""
    adjustments: SolveAdjustments = NO_ADJUSTMENTS
    validation: ValidationResult


@dataclass(frozen=True)
class ClosedLoop:
    """What the rounds of one job need."""

    request: EditRequest
    model: Model
    removals: Sequence[ResolvedRemoval]
    removed: Sequence[ResolvedRemoval]
    policy: Policy
    judge: Judge
    phases: PhaseStore
    first_edit: EditResult
    """The result of the edit phase."""
    solve: Callable[[SolveAdjustments], EditResult]
    """Solves again, with the ledger if there is one."""
    images: Callable[[EditResult | None, int], ImagePairGenerator]
    """Opens the images of a round's edit."""
    validate: Callable[[EditResult | None, int, Deciding], ValidationResult]
    """Validates a round's edit."""
    report: Callable[[str], None]
    """Reports what a round changed and brought."""
    estimate: PlanEstimate | None = None
    time_limit: float | None = None
    """Seconds that the job may take."""

    def run(self, first: ValidationResult) -> RefinedResult:
        """Strengthen the first edit, whose validation did not pass, within the request's budget."""
        planned = self._open_evaluations()
        if not can_pass(planned, self.policy.confidence):
            return RefinedResult(validation=self.validate(None, 0, FIRST_KEPT))
        steering = steering_prompts(planned)
        rounds, stopped = self._run_rounds(planned, steering)
        best = best_round(rounds)
        chosen, deciding = rounds[best], final_validation(steering) if best else FIRST_KEPT
        self.report(f"validating the edit of round {best}")
        validated = self.validate(chosen.edit, best, deciding)
        record = RefinementRecord(
            rounds=[round_record(number, one) for number, one in enumerate(rounds)],
            published=best,
            stopped=stopped,
            first_verdict=first.verdict or "inconclusive",
            confidence=self.policy.confidence,
            steering_prompts=len(steering),
        )
        return RefinedResult(
            edit=chosen.edit, adjustments=chosen.adjustments, validation=validated.with_refinement(record)
        )

    def _open_evaluations(self) -> list[GroupEvaluation]:
        images = self.images(None, 0)
        evaluations, _ = open_evaluations(
            *(self.request, self.model, self.removals, self.removed, self.policy, self.judge, images)
        )
        return evaluations

    def _run_rounds(
        self, planned: Sequence[GroupEvaluation], steering: frozenset[str]
    ) -> tuple[list[Round], StopReason]:
        """Run rounds until the margins are met or the budget is used up."""
        budget, limit = self.request.validation.budget, self._image_limit()
        rounds = [self.phases.run("round-0", Round, partial(self._measure, 0, None, NO_ADJUSTMENTS, planned, steering))]
        while min(one.measured.excess for one in rounds) > 0:
            number, used = len(rounds), sum(one.images for one in rounds[1:])
            if number > budget.rounds:
                return rounds, "rounds"
            if used + rounds[0].images > limit:
                return rounds, "images"
            compute = partial(self._run_round, number, rounds, planned, steering)
            rounds.append(self.phases.run(f"round-{number}", Round, compute))
        return rounds, "margin"

    def _run_round(
        self, number: int, earlier: Sequence[Round], planned: Sequence[GroupEvaluation], steering: frozenset[str]
    ) -> Round:
        """Change the best candidate so far, and measure it. The step grows with every round that was no better."""
        found = best_round(earlier)
        best = earlier[found]
        adjustments = next_adjustments(
            *(best.adjustments, best.measured, self.removals, self._more_layers(best)),
            steps=number - found,
            alone=len(self.removed) == 1,
        )
        self.report(f"round {number}: {'; '.join(describe_adjustments(adjustments))}")
        return self._measure(number, self.solve(adjustments), adjustments, planned, steering)

    def _measure(
        self,
        number: int,
        edit: EditResult | None,
        adjustments: SolveAdjustments,
        planned: Sequence[GroupEvaluation],
        steering: frozenset[str],
    ) -> Round:
        """Generate and score the images of the steering prompts."""
        options, learned = self.request.validation, learning_prompts(planned)
        measuring, learning = (steering_evaluations(planned, own) for own in (steering - learned, learned))
        images = self.images(edit, number)
        seeds = [self.request.seed + i for i in range(options.seeds * (SMALL_SEEDS if are_cheap(images) else 1))]
        level = 1 - self.policy.confidence
        generated = run_evaluations([*measuring, *learning], self.judge, images, seeds, level, False, report_fraction)
        found = read_measures(measuring, learning, len(seeds))
        self.report(f"round {number}: {found.excess:.3f} above the margins")
        return Round(
            edit=edit,
            adjustments=adjustments,
            measures=list(found.measures),
            leaked=list(found.leaked),
            fallen=list(found.fallen),
            images=len(generated.after),
        )

    def _more_layers(self, best: Round) -> tuple[int, ...]:
        """Return more layers than a candidate edits; none if there are no more, or the request or its ledger fixes them.

        Where a text gate is edited too, it carries more than the layers of CLIP, so it is strengthened instead.
        """
        edit, options = best.edit or self.first_edit, self.request.options
        has_gate = any(solve.site == "text_gate" for solve in edit.solves)
        if options.sites not in ("default", [0]) or self.request.ledger or has_gate:
            return ()
        existing = min((encoder.layers for encoder in self.model.checkpoint.encoders), default=0)
        layers = tuple(range(min(SPREAD_LAYERS, existing)))
        return layers if len(edit.layers) < len(layers) else ()

    def _image_limit(self) -> int:
        """Return how many images the rounds may generate."""
        budget = self.request.validation.budget
        limit = budget.images or (DEFAULT_SMALL_IMAGES if are_cheap(self.images(None, 0)) else DEFAULT_IMAGES)
        return limit_to_time(limit, self.estimate, budget.seconds, self.time_limit)


def best_round(rounds: Sequence[Round]) -> int:
    """Return the number of the round with the least excess, the first of equals."""
    return min(range(len(rounds)), key=lambda number: (rounds[number].measured.excess, number))


def limit_to_time(images: int, estimate: PlanEstimate | None, seconds: float | None, job_seconds: float | None) -> int:
    """Return how many of some images can be generated in time.

    Args:
        images: most images, if time suffices.
        estimate: the cost of a validation; None if it is unknown.
        seconds: the time for the images; None for any.
        job_seconds: the time for the whole job, with the first and the final validation; None for any.
    """
    if estimate is None or not estimate.seconds:
        return images
    left = [] if job_seconds is None else [max(0.0, job_seconds - 2 * estimate.seconds)]
    limits = left if seconds is None else [seconds, *left]
    return min([images, *(int(one * estimate.images / estimate.seconds) for one in limits)])


def are_cheap(images: ImagePairGenerator) -> bool:
    """Return whether images are so small that many can be generated."""
    return min(images.sampler.size or (native_side(images.pipeline),)) < SMALL_SIDE


def native_side(pipeline: object) -> int:
    """Return the smaller side in pixels of the images that a pipeline generates by default; a large one if it is unknown."""
    from editor.generation.module_device import native_size

    return min(native_size(pipeline) or (SMALL_SIDE,))


def round_record(number: int, one: Round) -> RoundRecord:
    """Return the report's record of a round."""
    return RoundRecord(
        number=number,
        changes=describe_adjustments(one.adjustments),
        measures=one.measures,
        excess=one.measured.excess,
        images=one.images,
    )
