"""Shares of trials, with Wilson's interval."""

from collections.abc import Sequence

from api_schemas.attacks import Rate
from editor.judging.statistics import wilson


def rate(found: Sequence[bool]) -> Rate:
    """Of those that are true.

    Raises:
        ZeroDivisionError: of nothing.
    """
    hits, n = sum(map(bool, found)), len(found)
    low, high = wilson(hits, n)
    return Rate(hits=hits, n=n, value=hits / n, low=low, high=high)
