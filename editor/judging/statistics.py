"""Estimates with intervals: the percentile bootstrap, resampling prompts (Efron & Tibshirani 1993, ch. 13)."""

from collections.abc import Sequence

import numpy as np

from api_schemas.report import Estimate, Verdict

RESAMPLES = 2000


def estimate(per_prompt: Sequence[float], confidence: float = 0.95, seed: int = 0) -> Estimate:
    """Mean over prompts with its bootstrap interval; paired figures are handed in as differences by prompt."""
    values = np.asarray(per_prompt, dtype=np.float64)
    if not len(values):
        raise ValueError("an estimate needs at least one prompt")
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(values[draws].mean(1), [tail, 1 - tail])
    return Estimate(value=float(values.mean()), low=float(low), high=float(high), n=len(values))


def at_most(measured: Estimate, threshold: float) -> Verdict:
    """Passed when the whole interval lies at or below the threshold, failed when it lies above, else inconclusive."""
    if measured.high <= threshold:
        return "passed"
    return "failed" if measured.low > threshold else "inconclusive"


def overall(outcomes: Sequence[Verdict]) -> Verdict:
    """One failure fails all; all must pass for a pass."""
    if "failed" in outcomes:
        return "failed"
    return "passed" if all(outcome == "passed" for outcome in outcomes) else "inconclusive"
