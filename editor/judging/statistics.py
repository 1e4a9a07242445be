"""Estimates with intervals: the percentile bootstrap, resampling prompts (Efron & Tibshirani 1993, ch. 13)."""

from collections.abc import Sequence
from statistics import NormalDist

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


def wilson(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a rate (Wilson 1927): good for few trials and for rates of 0 and 1, where a bootstrap has no width."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre, margin = hits + z * z / 2, z * (hits * (n - hits) / n + z * z / 4) ** 0.5
    return max(0.0, (centre - margin) / (n + z * z)), min(1.0, (centre + margin) / (n + z * z))


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


def rank_correlation(pairs: Sequence[tuple[float, float]], seed: int = 0) -> Estimate:
    """Spearman's rank correlation with its 95 % bootstrap interval over the pairs; 0 where one side is constant."""
    values = np.asarray(pairs, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile([spearman(values[draw]) for draw in draws], [0.025, 0.975])
    return Estimate(value=spearman(values), low=float(low), high=float(high), n=len(values))


def spearman(values: np.ndarray) -> float:
    """Of ``(n, 2)``."""
    first, second = (ranks(column) - (len(column) + 1) / 2 for column in values.T)
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """From 1 on; ties share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: np.ndarray = (last - (counts - 1) / 2)[inverse]
    return mean
