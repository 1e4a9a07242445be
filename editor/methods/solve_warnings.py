"""Warnings about a solve: what the forecast says cannot be done."""

from collections.abc import Iterator, Sequence

from api_schemas.report import ForeseenRemoval, TradeOffPoint
from editor.solver.preservation_search import MIN_DESTINATION, MIN_KEPT


def solve_warnings(point: TradeOffPoint, at_bound: bool, removals: Sequence[ForeseenRemoval]) -> Iterator[str]:
    """Yield what a reader should know before relying on an edit.

    Args:
        point: the chosen preservation weight and its forecast.
        at_bound: whether the search ended at the smallest or largest weight that it may try.
        removals: the forecast of each removal that was measured.
    """
    if at_bound:
        yield f"The search for the preservation weight ended at its bound, {point.preservation:g}."
    low = [one for one in removals if one.destination is not None and one.destination < MIN_DESTINATION]
    if low:
        yield (
            f"{len(low)} of {len(removals)} removals are predicted to show their destination in less than "
            f"{MIN_DESTINATION:.0%} of their images."
        )
    if point.kept < MIN_KEPT:
        yield f"Retained prompts are predicted to show what they did in {point.kept:.0%} of their images."
