"""Bounds on a mean that hold at every moment, so that sampling may stop as soon as they tell.

Observations are bounded, one for each prompt: its mean over the seeds, or its paired difference. Against the claim that
the mean is ``m`` or more a gambler stakes on low observations. If the claim is true his capital, the product of
``1 + b (m - x)``, is a nonnegative supermartingale, so the chance that it *ever* reaches ``1/level`` is at most ``level``
(Ville's inequality); looking as often as one likes costs nothing. Waudby-Smith & Ramdas, "Estimating means of bounded random
variables by betting", JRSS B 2024. The stakes are spread over a few fixed bets, their diversified Kelly betting: that needs no
tuning, and is never far behind the best of them.

What is assumed: prompts come in random order, each with the same conditional mean given those before.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Support = tuple[float, float]
"""Between which an observation lies."""
BET_FRACTIONS = np.array([0.95, 0.5, 0.25, 0.125, 0.0625, 0.03125])
"""Of the largest bet that can't ruin; bold ones settle clear cases, timid ones bear with noise."""
BET_SHARES = np.array([0.5, 0.25, 0.125, 0.0625, 0.03125, 0.03125])
"""Of the capital that is staked on each."""
BISECTIONS = 40


def evidence_below(values: Sequence[float] | Values, bound: float, support: Support) -> float:
    """Log of the largest capital so far of who bets that the mean is below ``bound``; infinite where it can't be above.

    Args:
        values: observations in the order in which they came.
        support: the least and the largest value that an observation can have.
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
    """The same of who bets that the mean is above ``bound``."""
    return evidence_below(-np.asarray(values, dtype=np.float64), -bound, (-support[1], -support[0]))


def anytime_valid_interval(
    values: Sequence[float] | Values, support: Support, confidence: float
) -> tuple[float, float]:
    """The confidence sequence's present interval: all means against which the capital never reached ``2/(1-confidence)``."""
    needed, (least, most) = math.log(2 / (1 - confidence)), support

    def reaches(bound: float) -> bool:
        return evidence_below(values, bound, support) >= needed

    def refutes(bound: float) -> bool:
        return evidence_above(values, bound, support) >= needed

    return _edge(least, most, lambda m: not refutes(m)), _edge(least, most, reaches)


def _edge(low: float, high: float, right: Callable[[float], bool]) -> float:
    """Where a condition that holds from some point on begins to hold."""
    if right(low):
        return low
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if right(middle) else (middle, high)
    return high
