"""Interval estimates: bootstrap intervals of a mean over prompts, and Wilson's score interval of a rate."""

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from api_schemas.attacks import Rate
from api_schemas.report import Estimate

Values = NDArray[np.float64]
RESAMPLES = 2000
NORMAL = NormalDist()


def critical_value(confidence: float) -> float:
    """Return the z-score of a two-sided normal interval, such as 1.96 for 0.95."""
    return NORMAL.inv_cdf((1 + confidence) / 2)


def estimate_mean(per_prompt: Sequence[float], confidence: float = 0.95, seed: int = 0) -> Estimate:
    """Return the mean over prompts with its BCa bootstrap interval.

    Prompts are the units that are resampled. Images of one prompt at several seeds are a cluster, so pass their mean. For a
    paired comparison pass the difference of each prompt.

    Raises:
        ValueError: ``per_prompt`` is empty.
    """
    values = np.asarray(per_prompt, dtype=np.float64)
    if not len(values):
        raise ValueError("an estimate needs at least one prompt")
    low, high = bca_interval(values, confidence, seed)
    return Estimate(value=float(values.mean()), low=low, high=high, n=len(values))


def bootstrap_means(values: Values, generator: np.random.Generator) -> Values:
    """Return the means ``(RESAMPLES,)`` of samples drawn from ``values`` ``(n,)`` with replacement."""
    means: Values = values[generator.integers(0, len(values), (RESAMPLES, len(values)))].mean(1)
    return means


def percentile_interval(resampled: Values, confidence: float) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a figure from its resampled values."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def bca_interval(values: Values, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Return the bias-corrected and accelerated bootstrap interval of a mean (Efron 1987; Efron & Tibshirani 1993, 14.3).

    If all values are equal, both ends are that value.
    """
    centre = values.mean()
    deviations = values - centre
    if not deviations.any():
        return float(centre), float(centre)
    means = bootstrap_means(values, np.random.default_rng(seed))
    below = (np.mean(means < centre) + np.mean(means <= centre)) / 2  # ties count half
    bias = NORMAL.inv_cdf(float(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES)))
    # The skewness of the jackknife: leaving out x moves the mean by (mean - x) / (n - 1).
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)

    def level(z: float) -> float:
        return NORMAL.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))

    z = critical_value(confidence)
    low, high = np.quantile(means, [level(-z), level(z)])
    return float(low), float(high)


def conservative_bootstrap(
    per_prompt: Sequence[float], support: tuple[float, float], confidence: float = 0.95
) -> tuple[float, float]:
    """Return a BCa interval each end of which is computed with one more observation at that end of the support.

    A plain bootstrap has no width if no prompt in the sample changed, and so misses changes that are rare.
    """
    values = np.asarray(per_prompt, dtype=np.float64)
    low, high = (bca_interval(np.append(values, extreme), confidence)[end] for end, extreme in enumerate(support))
    return low, high


def wilson_interval(hits: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Return the score interval of a rate (Wilson 1927), which has width even if the rate is 0 or 1."""
    z = critical_value(confidence)
    centre, margin = hits + z * z / 2, z * (hits * (n - hits) / n + z * z / 4) ** 0.5
    return max(0.0, (centre - margin) / (n + z * z)), min(1.0, (centre + margin) / (n + z * z))


def estimate_rate(per_prompt: Sequence[float], confidence: float = 0.95) -> Estimate:
    """Return the share of hits with its Wilson interval; a prompt counts as one trial, however many seeds it had."""
    hits, n = sum(per_prompt), len(per_prompt)
    low, high = wilson_interval(hits, n, confidence)
    return Estimate(value=hits / n, low=low, high=high, n=n)


def effective_sample_size(per_prompt: Sequence[float], rounds: int) -> float:
    """Return the number of independent images that means over ``rounds`` images of each prompt are worth.

    Images of a prompt are alike, so that it lies between the number of prompts and that of images: with the variance ``v`` of
    the means and the rate ``p``, ``n`` images would give ``p (1 - p) / n = v / prompts`` (Kish's design effect). Without a
    difference between prompts nothing is known about it, and a prompt counts as one.
    """
    values, n = np.asarray(per_prompt, dtype=np.float64), len(per_prompt)
    if n < 2 or rounds == 1:
        return n
    rate, variance = values.mean(), values.var(ddof=1)
    return float(np.clip(n * rate * (1 - rate) / variance, n, n * rounds)) if variance else float(n)


def hit_rate(hits: Sequence[bool]) -> Rate:
    """Return the share of true values with its 95 % Wilson interval.

    Raises:
        ZeroDivisionError: ``hits`` is empty.
    """
    rate = estimate_rate([bool(hit) for hit in hits])
    return Rate(hits=sum(map(bool, hits)), n=rate.n, value=rate.value, low=rate.low, high=rate.high)
