"""Confidence sequences: bounds on a mean that are valid at every sample size, so that sampling may stop at any time.

Observations are bounded, one for each prompt: its mean over the seeds, or its paired difference. To test the hypothesis that
the mean is ``m`` or more, a gambler bets on low observations. Under the hypothesis his capital, the product of
``1 + b (m - x)``, is a nonnegative supermartingale, so the probability that it *ever* reaches ``1/level`` is at most ``level``
(Ville's inequality), and interim analyses cost nothing. Waudby-Smith & Ramdas, "Estimating means of bounded random variables
by betting", JRSS B 2024. The stakes are spread over a few fixed bets, their diversified Kelly betting, which needs no tuning
and is never far behind the best single bet.

Assumption: prompts come in random order, each with the same conditional mean given the previous ones.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Support = tuple[float, float]
"""Smallest and largest possible observation."""
BET_FRACTIONS = np.array([0.95, 0.5, 0.25, 0.125, 0.0625, 0.03125])
"""Bets, as fractions of the largest that cannot lose all capital: large ones decide clear cases, small ones tolerate noise."""
BET_SHARES = np.array([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125])
"""Share of the capital that is put on each bet."""
BISECTIONS = 40


def evidence_below(values: Sequence[float] | Values, bound: float, support: Support) -> float:
    """Return the log of the largest capital so far from betting that the mean is below ``bound``.

    Infinite if the support excludes a mean above the bound.

    Args:
        values: observations, in the order in which they were made.
        support: the smallest and the largest possible observation.
    """
    if bound >= support[1]:
        return math.inf
    if not len(values):
        return 0.0
    room, seen = support[1] - bound, np.asarray(values, dtype=np.float64)
    gains = np.log1p(BET_FRACTIONS[:, None] / room * (bound - seen))
    capital = np.logaddexp.reduce(gains.cumsum(axis=1) + np.log(BET_SHARES)[:, None], axis=0)
    return max(0.0, float(capital.max()))


def evidence_above(values: Sequence[float] | Values, bound: float, support: Support) -> float:
    """Return the log of the largest capital so far from betting that the mean is above ``bound``."""
    return evidence_below(-np.asarray(values, dtype=np.float64), -bound, (-support[1], -support[0]))


def anytime_valid_interval(
    values: Sequence[float] | Values, support: Support, confidence: float
) -> tuple[float, float]:
    """Return the confidence sequence's current interval: the means against which no capital reached ``2/(1-confidence)``."""
    needed, (least, most) = math.log(2 / (1 - confidence)), support

    def reaches(bound: float) -> bool:
        return evidence_below(values, bound, support) >= needed

    def refutes(bound: float) -> bool:
        return evidence_above(values, bound, support) >= needed

    return _bisect(least, most, lambda m: not refutes(m)), _bisect(least, most, reaches)


def _bisect(low: float, high: float, condition: Callable[[float], bool]) -> float:
    """Find by bisection the point from which on a monotone condition is true."""
    if condition(low):
        return low
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if condition(middle) else (middle, high)
    return high
