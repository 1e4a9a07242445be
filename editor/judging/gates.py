"""Gates decided: by bounds that hold whenever one looks, and by an interval of fixed size once every prompt was drawn.

Half of the error that is allowed goes to each. A wrong `passed` verdict needs every gate to pass, and the one that should have
failed among them: its own error bounds the verdict's, whatever the number of gates (Berger 1982, intersection-union tests).
One wrong failure is enough for a wrong `failed` verdict: failures are corrected for the number of gates (Holm 1979).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from api_schemas.edits import Thresholds
from api_schemas.edits import Validation as Asked
from api_schemas.gates import Gate, Measure, Policy
from api_schemas.judging import Check, Estimate, Verdict
from editor.stats.confidence_sequences import (
    Support,
    anytime_valid_interval,
    evidence_above,
    evidence_below,
)
from editor.stats.intervals import conservative_bootstrap, estimate_mean, estimate_rate

METHOD = (
    "Betting confidence sequences by prompt (Waudby-Smith & Ramdas 2024), valid under optional stopping, at half of the error; "
    "with all prompts drawn, Wilson's interval of a rate or a bootstrap (BCa) by prompt with one more prompt at each extreme, "
    "at the other half. Passing is an intersection-union test; failures are corrected for the number of gates by Holm's method."
)
ABSENCE_MEASURES: tuple[Measure, ...] = ("target_accuracy", "generality_accuracy")
MEASURE_SUPPORT: dict[Measure, Support] = {
    "target_accuracy": (0.0, 1.0),
    "generality_accuracy": (0.0, 1.0),
    "neighbour_drop": (-1.0, 1.0),
    "retain_object_drop": (-1.0, 1.0),
    "retain_style_drop": (-1.0, 1.0),
    "retain_similarity": (-1.0, 1.0),
}


def gates_from_thresholds(thresholds: Thresholds) -> list[Gate]:
    """The gates that a request's thresholds stand for."""
    limits: dict[Measure, float] = {
        "target_accuracy": thresholds.target_accuracy,
        "generality_accuracy": thresholds.target_accuracy,
        "neighbour_drop": thresholds.neighbour_drop,
        "retain_object_drop": thresholds.retain_drop,
        "retain_style_drop": thresholds.retain_drop,
    }
    return [Gate(measure=measure, threshold=limit) for measure, limit in limits.items()]


def policy_from_request(asked: Asked) -> Policy:
    """The gates of a request that names no policy."""
    gates = asked.gates or gates_from_thresholds(asked.thresholds)
    return Policy(
        gates=gates,
        confidence=asked.thresholds.confidence,
        publish_policy=asked.publish_policy or "always",
    )


@dataclass(frozen=True)
class GateEvidence:
    """What one gate has to go by: a value for each prompt, in the order drawn."""

    gate: Gate
    values: Sequence[float]
    complete: bool
    """Whether every planned prompt was drawn."""
    control: Sequence[float] = ()
    """The unedited model's accuracy, where the gate asks whether something is gone."""

    @property
    def support(self) -> Support:
        """Between which a value lies."""
        return MEASURE_SUPPORT[self.gate.measure]

    def meets_threshold(self, level: float) -> bool:
        """Whether the mean is on the gate's side, with a chance of ``level`` at most that this is said wrongly."""
        return self.has_minimum_prompts and (
            self.mean_is_below(level) if self.gate.comparator == "<=" else self.mean_is_above(self.values, level)
        )

    def violates_threshold(self, level: float) -> bool:
        """Whether it is on the other side."""
        return self.has_minimum_prompts and (
            self.mean_is_above(self.values, level) if self.gate.comparator == "<=" else self.mean_is_below(level)
        )

    @property
    def has_minimum_prompts(self) -> bool:
        """Whether there are as many prompts as the gate asks for."""
        return len(self.values) >= self.gate.minimum_n

    def mean_is_below(self, level: float) -> bool:
        """Whether the mean is at most the threshold."""
        early = evidence_below(self.values, self.gate.threshold, self.support) >= math.log(2 / level)
        return early or (self.complete and self.final_interval(self.values, 1 - level)[1] <= self.gate.threshold)

    def mean_is_above(self, values: Sequence[float], level: float) -> bool:
        """Whether a mean is above the threshold."""
        early = evidence_above(values, self.gate.threshold, self.support) >= math.log(2 / level)
        return early or (self.complete and self.final_interval(values, 1 - level)[0] > self.gate.threshold)

    def final_interval(self, values: Sequence[float], confidence: float) -> tuple[float, float]:
        """With all prompts drawn; both tails together have the chance that ``confidence`` leaves."""
        if self.gate.measure in ABSENCE_MEASURES:
            found = estimate_rate(values, confidence)
            return found.low, found.high
        return conservative_bootstrap(values, self.support, confidence)

    def present_in_base(self, level: float) -> bool:
        """Whether the unedited model draws what is to be gone: nothing can be shown to be removed that was not there."""
        asks = self.gate.measure in ABSENCE_MEASURES and self.gate.comparator == "<="
        return not asks or self.mean_is_above(self.control, level)

    def passes(self, level: float) -> bool:
        """Whether the gate passes."""
        return bool(self.values) and self.present_in_base(level) and self.meets_threshold(level)

    def is_decided(self, level: float, gates: int) -> bool:
        """Whether drawing more would change nothing that can be told: it passes, or fails among so many gates."""
        return bool(self.values) and (self.passes(level) or self.violates_threshold(level / gates))


def decide_gates(every: Sequence[GateEvidence], confidence: float) -> list[Verdict]:
    """What each gate comes to."""
    level = 1 - confidence
    failed = holm_failures(every, level)
    return [
        "failed" if i in failed else "passed" if one.passes(level) else "inconclusive" for i, one in enumerate(every)
    ]


def holm_failures(every: Sequence[GateEvidence], level: float) -> set[int]:
    """The gates that fail, with a chance of ``level`` at most that any of them should not have."""
    failed: set[int] = set()
    while True:
        left = set(range(len(every))) - failed
        more = {i for i in left if every[i].values and every[i].violates_threshold(level / len(left))}
        if not more:
            return failed
        failed |= more


def estimate_measure(gate: Gate, values: Sequence[float], confidence: float) -> Estimate:
    """The measure with its ordinary interval."""
    return estimate_rate(values, confidence) if gate.measure in ABSENCE_MEASURES else estimate_mean(values, confidence)


def make_check(
    one: GateEvidence,
    outcome: Verdict,
    name: str,
    removal: int | None,
    seeds: int,
    planned: int,
    confidence: float,
) -> Check:
    """For the report."""
    low, high = anytime_valid_interval(one.values, one.support, confidence)
    told = outcome != "inconclusive"
    return Check(
        name=name,
        removal=removal,
        measured=estimate_measure(one.gate, one.values, confidence),
        threshold=one.gate.threshold,
        outcome=outcome,
        measure=one.gate.measure,
        comparator=one.gate.comparator,
        minimum_n=one.gate.minimum_n,
        always_valid=(low, high),
        settled=("at the end" if one.complete else "early") if told else "open",
        images=len(one.values) * seeds,
        planned=planned * seeds,
        observations=list(one.values),
        control=list(one.control),
    )


def evidence_from_check(one: Check) -> GateEvidence:
    """What a recorded gate was decided by."""
    gate = Gate(
        measure=one.measure,
        comparator=one.comparator,
        threshold=one.threshold,
        minimum_n=one.minimum_n,
    )
    return GateEvidence(gate, one.observations, one.images >= one.planned, one.control)


def recompute_outcomes(checks: Sequence[Check], confidence: float) -> list[Verdict]:
    """The outcomes again, from what was recorded."""
    return decide_gates([evidence_from_check(one) for one in checks], confidence)


def recompute_measure(one: Check, confidence: float) -> Estimate:
    """The measure again, from what was recorded."""
    return estimate_measure(evidence_from_check(one).gate, one.observations, confidence)
