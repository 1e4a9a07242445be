"""Estimates with intervals: bootstraps by prompt, and the score interval of a rate."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from api_schemas.attacks import Rate
from api_schemas.report import Estimate, Verdict

Values = NDArray[np.float64]
RESAMPLES = 2000
NORMAL = NormalDist()


def estimate_mean(per_prompt: Sequence[float], confidence: float = 0.95, seed: int = 0) -> Estimate:
    """Mean over prompts with its bootstrap interval; paired figures are handed in as differences by prompt.

    Prompts are what is resampled: images of one prompt at several seeds are a cluster, and come as their mean.
    """
    values = np.asarray(per_prompt, dtype=np.float64)
    if not len(values):
        raise ValueError("an estimate needs at least one prompt")
    low, high = bca_interval(values, confidence, seed)
    return Estimate(value=float(values.mean()), low=low, high=high, n=len(values))


def bca_interval(values: Values, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval of a mean (Efron 1987; Efron & Tibshirani 1993, 14.3).

    Values that are all the same have no spread to resample: the interval is that value.
    """
    centre = values.mean()
    deviations = values - centre
    if not deviations.any():
        return float(centre), float(centre)
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    means = values[draws].mean(1)
    below = (np.mean(means < centre) + np.mean(means <= centre)) / 2  # ties count half
    bias = NORMAL.inv_cdf(float(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES)))
    # the jackknife's skewness; leaving out x moves a mean by (mean - x) / (n - 1)
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)

    def level(z: float) -> float:
        return NORMAL.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))

    z = NORMAL.inv_cdf((1 + confidence) / 2)
    low, high = np.quantile(means, [level(-z), level(z)])
    return float(low), float(high)


def estimate_rate(per_prompt: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Share of images with Wilson's interval; each prompt counts as one trial, however many seeds it had."""
    low, high = wilson_interval(sum(per_prompt), len(per_prompt), confidence)
    return Estimate(value=sum(per_prompt) / len(per_prompt), low=low, high=high, n=len(per_prompt))


def conservative_bootstrap(
    per_prompt: Sequence[float], support: tuple[float, float], confidence: float = 0.95
) -> tuple[float, float]:
    """A bootstrap interval that allows for what was not seen: each end as if one more prompt had gone that far.

    Where next to no prompt changes, a bootstrap can't know of changes that are rare: it has no width, and is wrong.
    """
    values = np.asarray(per_prompt, dtype=np.float64)
    low, high = (bca_interval(np.append(values, extreme), confidence)[side] for side, extreme in enumerate(support))
    return low, high


def wilson_interval(hits: float, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a rate (Wilson 1927): good for few trials and for rates of 0 and 1, where a bootstrap has no width."""
    z = NORMAL.inv_cdf((1 + confidence) / 2)
    centre, margin = hits + z * z / 2, z * (hits * (n - hits) / n + z * z / 4) ** 0.5
    return max(0.0, (centre - margin) / (n + z * z)), min(1.0, (centre + margin) / (n + z * z))


def at_most(measured: Estimate, threshold: float) -> Verdict:
    """Passed when the whole interval lies at or below the threshold, failed when it lies above, else inconclusive."""
    if measured.high <= threshold:
        return "passed"
    return "failed" if measured.low > threshold else "inconclusive"


def combine_verdicts(outcomes: Sequence[Verdict]) -> Verdict:
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


def hit_rate(hits: Sequence[bool]) -> Rate:
    """Return the share of true values with its Wilson interval.

    Raises:
        ZeroDivisionError: ``hits`` is empty.
    """
    count, n = sum(map(bool, hits)), len(hits)
    low, high = wilson_interval(count, n)
    return Rate(hits=count, n=n, value=count / n, low=low, high=high)
