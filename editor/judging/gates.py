"""Gates: how each is decided from the observations of its prompts.

Two bounds are used, each with half of the permitted error: a confidence sequence, which is valid at every interim analysis of
the first round of prompts, and an interval of fixed sample size once every prompt has been scored in every round. A `passed`
verdict is wrong only if a gate passes that should have failed, so that gate's own error bounds the verdict's, whatever the
number of gates (Berger 1982, intersection-union tests). A single wrong failure makes a `failed` verdict wrong, so failures are
corrected for the number of gates (Holm 1979).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from api_schemas.edits import Thresholds
from api_schemas.edits import Validation as ValidationOptions
from api_schemas.gates import Gate, Measure, Policy
from api_schemas.judging import Check, Estimate, Verdict
from editor.stats.confidence_sequences import Support, anytime_valid_interval, evidence_above, evidence_below
from editor.stats.intervals import (
    conservative_bootstrap,
    effective_sample_size,
    estimate_mean,
    estimate_rate,
    wilson_interval,
)

METHOD = (
    "Betting confidence sequences by prompt (Waudby-Smith & Ramdas 2024), valid under optional stopping, at half of the error; "
    "with all prompts drawn, Wilson's interval of a rate or a bootstrap (BCa) by prompt with one more prompt at each extreme, "
    "at the other half. Where a gate stays open, further prompts are drawn, or the same ones with further seeds: their means "
    "count as the independent images that their variance is worth. Passing is an intersection-union test; failures are "
    "corrected for the number of gates by Holm's method."
)
ABSENCE_MEASURES: tuple[Measure, ...] = ("target_accuracy", "generality_accuracy")
"""Measures of a concept that should be absent."""
RATE_MEASURES: tuple[Measure, ...] = (*ABSENCE_MEASURES, "other_removed_accuracy")
"""Measures that are a share of images."""
REFERENCE_MEASURES: tuple[Measure, ...] = ("destination_drop", "styled_object_drop")
"""Measures against the base model's images of what the prompts should read as; these are the control."""
MINIMUM_REFERENCE = 0.5
"""Share of those images in which the base model must show what is asked for; below it, its absence shows nothing."""
MEASURE_SUPPORT: dict[Measure, Support] = {
    "target_accuracy": (0.0, 1.0),
    "generality_accuracy": (0.0, 1.0),
    "neighbour_drop": (-1.0, 1.0),
    "retain_object_drop": (-1.0, 1.0),
    "retain_style_drop": (-1.0, 1.0),
    "retain_similarity": (-1.0, 1.0),
    "destination_drop": (-1.0, 1.0),
    "styled_object_drop": (-1.0, 1.0),
    "other_removed_accuracy": (0.0, 1.0),
}


def gates_from_thresholds(thresholds: Thresholds) -> list[Gate]:
    """Return the gates that a request's thresholds stand for."""
    limits: dict[Measure, float] = {
        "target_accuracy": thresholds.target_accuracy,
        "generality_accuracy": thresholds.target_accuracy,
        "neighbour_drop": thresholds.neighbour_drop,
        "retain_object_drop": thresholds.retain_drop,
        "retain_style_drop": thresholds.retain_drop,
        "destination_drop": thresholds.destination_drop,
        "styled_object_drop": thresholds.styled_object_drop,
        "other_removed_accuracy": thresholds.other_removed_accuracy,
    }
    return [Gate(measure=measure, threshold=limit) for measure, limit in limits.items()]


def policy_from_request(options: ValidationOptions) -> Policy:
    """Return the policy of a request that does not name one: its own gates, or those of its thresholds."""
    return Policy(
        gates=options.gates or gates_from_thresholds(options.thresholds),
        confidence=options.thresholds.confidence,
        publish_policy=options.publish_policy or "always",
    )


@dataclass(frozen=True)
class GateEvidence:
    """The observations that decide one gate: a value for each prompt, in the order in which they were scored."""

    gate: Gate
    values: Sequence[float]
    complete: bool
    """Whether every planned prompt was scored in every round."""
    control: Sequence[float] = ()
    """The base model's accuracy on each prompt, for measures of absence; on what the prompt should read as, for measures
    against such references."""
    rounds: int = 1
    """Number of times that each prompt was used, over which the values are means. Confidence sequences hold in the first."""
    left_out: int = 0
    """Number of scored prompts without a value, because the judge sees the concept in their references too."""

    @property
    def support(self) -> Support:
        """The smallest and the largest possible value."""
        return MEASURE_SUPPORT[self.gate.measure]

    def meets_threshold(self, level: float) -> bool:
        """Whether the mean is shown to be on the gate's side of the threshold, with error probability at most ``level``."""
        return self.has_minimum_prompts and (
            self.mean_is_below(level) if self.gate.comparator == "<=" else self.mean_is_above(level)
        )

    def violates_threshold(self, level: float) -> bool:
        """Whether the mean is shown to be on the other side, with error probability at most ``level``."""
        wrong_side = self.mean_is_above if self.gate.comparator == "<=" else self.mean_is_below
        return self.has_minimum_prompts and self.reference_is_shown(level) and wrong_side(level)

    @property
    def has_minimum_prompts(self) -> bool:
        """Whether the gate's ``minimum_n`` is reached."""
        return len(self.values) >= self.gate.minimum_n

    def mean_is_below(self, level: float) -> bool:
        """Whether the mean is shown to be at most the threshold."""
        early = self.rounds == 1 and evidence_below(self.values, self.gate.threshold, self.support) >= math.log(
            2 / level
        )
        return early or (self.complete and self.final_interval(1 - level)[1] <= self.gate.threshold)

    def mean_is_above(self, level: float) -> bool:
        """Whether the mean is shown to be above the threshold."""
        early = self.rounds == 1 and evidence_above(self.values, self.gate.threshold, self.support) >= math.log(
            2 / level
        )
        return early or (self.complete and self.final_interval(1 - level)[0] > self.gate.threshold)

    def final_interval(self, confidence: float) -> tuple[float, float]:
        """Return the two-sided interval of fixed sample size, which is valid once every prompt has been scored."""
        if self.gate.measure in RATE_MEASURES:
            return rate_interval(self.values, self.rounds, confidence)
        return conservative_bootstrap(self.values, self.support, confidence)

    def control_exceeds(self, bound: float, level: float) -> bool:
        """Whether the control's rate is shown to be above ``bound``."""
        early = self.rounds == 1 and evidence_above(self.control, bound, (0.0, 1.0)) >= math.log(2 / level)
        return early or (self.complete and rate_interval(self.control, self.rounds, 1 - level)[0] > bound)

    def present_in_base(self, level: float) -> bool:
        """Whether the base model is shown to generate the concept; otherwise its absence after the edit proves nothing.

        True for gates that do not assert an absence.
        """
        asserts_absence = self.gate.measure in ABSENCE_MEASURES and self.gate.comparator == "<="
        return not asserts_absence or self.control_exceeds(self.gate.threshold, level)

    def reference_is_shown(self, level: float) -> bool:
        """Whether the base model is shown to generate what the prompts should read as. True for gates without references."""
        return self.gate.measure not in REFERENCE_MEASURES or self.control_exceeds(MINIMUM_REFERENCE, level)

    def reference_is_missing(self, level: float) -> bool:
        """Whether the base model is shown not to generate it, so that no number of prompts decides the gate."""
        return self.gate.measure in REFERENCE_MEASURES and evidence_below(
            self.control, MINIMUM_REFERENCE, (0.0, 1.0)
        ) >= math.log(2 / level)

    def passes(self, level: float) -> bool:
        """Whether the gate passes, with error probability at most ``level``."""
        shown = self.present_in_base(level) and self.reference_is_shown(level)
        return bool(self.values) and shown and self.meets_threshold(level)

    def is_decided(self, level: float, gates: int) -> bool:
        """Whether the gate passes, or fails as one of ``gates``, or cannot be decided, so that it needs no more prompts."""
        return bool(self.values) and (
            self.passes(level) or self.violates_threshold(level / gates) or self.reference_is_missing(level)
        )


def rate_interval(values: Sequence[float], rounds: int, confidence: float) -> tuple[float, float]:
    """Return Wilson's interval of a rate, with the independent images that means over rounds are worth."""
    worth = effective_sample_size(values, rounds)
    return wilson_interval(worth * sum(values) / len(values), worth, confidence)


def decide_gates(evidence: Sequence[GateEvidence], confidence: float) -> list[Verdict]:
    """Return the outcome of each gate."""
    level = 1 - confidence
    failed = holm_failures(evidence, level)
    return [
        "failed" if i in failed else "passed" if one.passes(level) else "inconclusive" for i, one in enumerate(evidence)
    ]


def holm_failures(evidence: Sequence[GateEvidence], level: float) -> set[int]:
    """Return the indices of the gates that fail, with probability at most ``level`` that any of these failures is wrong."""
    failed: set[int] = set()
    while True:
        remaining = set(range(len(evidence))) - failed
        more = {i for i in remaining if evidence[i].values and evidence[i].violates_threshold(level / len(remaining))}
        if not more:
            return failed
        failed |= more


def combine_verdicts(outcomes: Sequence[Verdict]) -> Verdict:
    """Return `failed` if any outcome is, `passed` if all are, else `inconclusive`."""
    if "failed" in outcomes:
        return "failed"
    return "passed" if all(outcome == "passed" for outcome in outcomes) else "inconclusive"


def estimate_measure(gate: Gate, values: Sequence[float], confidence: float) -> Estimate:
    """Return the gate's measure with its ordinary interval; without a prompt anything is possible."""
    if not values:
        low, high = MEASURE_SUPPORT[gate.measure]
        return Estimate(value=0.0, low=low, high=high, n=0)
    estimate = estimate_rate if gate.measure in RATE_MEASURES else estimate_mean
    return estimate(values, confidence)


def inconclusive_reason(evidence: GateEvidence, confidence: float) -> str:
    """Say why a gate was not decided."""
    if not evidence.values:
        return "There were no prompts: no such concept of the profile is recognised in images of the base model."
    if not evidence.present_in_base(1 - confidence):
        rate = estimate_rate(evidence.control, confidence)
        return (
            f"The concept was recognised in only {rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%}) of the base model's "
            "images, so its absence after the edit shows nothing."
        )
    if evidence.gate.measure in REFERENCE_MEASURES and fmean(evidence.control) < MINIMUM_REFERENCE:
        rate = estimate_rate(evidence.control, confidence)
        return (
            f"The base model itself showed what these prompts should read as in only {rate.value:.0%} ({rate.low:.0%} to "
            f"{rate.high:.0%}) of its images, so its absence after the edit shows nothing. Choose a replacement that the model "
            "can generate and the judge can recognise."
        )
    if not evidence.has_minimum_prompts:
        return f"There were {len(evidence.values)} prompts; the gate needs {evidence.gate.minimum_n}."
    return "The interval contains the threshold: more prompts are needed (`prompts`, `retain_prompts`, `top_up`)."


def make_check(
    evidence: GateEvidence,
    outcome: Verdict,
    name: str,
    removal: int | None,
    seeds: int,
    planned: int,
    confidence: float,
) -> Check:
    """Return the report's record of a decided gate.

    Args:
        seeds: number of seeds of each prompt.
        planned: number of prompts, times their rounds, if none were spared by early stopping.
    """
    low, high = anytime_valid_interval(evidence.values, evidence.support, confidence)
    decided = outcome != "inconclusive"
    return Check(
        name=name,
        removal=removal,
        measured=estimate_measure(evidence.gate, evidence.values, confidence),
        threshold=evidence.gate.threshold,
        outcome=outcome,
        reason="" if decided else inconclusive_reason(evidence, confidence),
        measure=evidence.gate.measure,
        comparator=evidence.gate.comparator,
        minimum_n=evidence.gate.minimum_n,
        always_valid=(low, high),
        settled=("at the end" if evidence.complete else "early") if decided else "open",
        images=(len(evidence.values) + evidence.left_out) * seeds * evidence.rounds,
        planned=planned * seeds,
        observations=list(evidence.values),
        control=list(evidence.control),
        rounds=evidence.rounds,
        left_out=evidence.left_out,
    )


def evidence_from_check(check: Check) -> GateEvidence:
    """Return the evidence that a recorded gate was decided by."""
    gate = Gate(
        measure=check.measure, comparator=check.comparator, threshold=check.threshold, minimum_n=check.minimum_n
    )
    complete = check.images >= check.planned
    return GateEvidence(gate, check.observations, complete, check.control, check.rounds, check.left_out)


def recompute_outcomes(checks: Sequence[Check], confidence: float) -> list[Verdict]:
    """Decide recorded gates again from their observations."""
    return decide_gates([evidence_from_check(check) for check in checks], confidence)


def recompute_measure(check: Check, confidence: float) -> Estimate:
    """Estimate a recorded measure again from its observations."""
    return estimate_measure(evidence_from_check(check).gate, check.observations, confidence)
