"""The one form of every benchmark: ours, the peer's, their ratio, and the bounds that are to hold.

Both sides run alternately in one process, so whatever else the machine does meets both; the first runs are thrown away.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Part(BaseModel):
    """Base of the outcome's parts."""

    model_config = ConfigDict(frozen=True)


class Measure(Part):
    """Median and range of several runs."""

    median: float
    low: float
    high: float
    unit: str


class Bound(Part):
    """A figure that is promised, and whether it holds."""

    name: str
    value: float
    bound: float
    ok: bool


class Outcome(Part):
    """What ``--json`` prints."""

    name: str
    ours: Measure
    peer: Measure
    ratio: Measure = Field(description="Peer over ours where less is better, ours over peer where more is.")
    bounds: list[Bound]

    @property
    def ok(self) -> bool:
        """Whether every bound holds."""
        return all(bound.ok for bound in self.bounds)


def measure(values: Sequence[float], unit: str) -> Measure:
    """Median and range."""
    return Measure(median=statistics.median(values), low=min(values), high=max(values), unit=unit)


def at_least(name: str, value: float, bound: float) -> Bound:
    """A bound from below."""
    return Bound(name=name, value=value, bound=bound, ok=value >= bound)


def at_most(name: str, value: float, bound: float) -> Bound:
    """A bound from above."""
    return Bound(name=name, value=value, bound=bound, ok=value <= bound)


def seconds(run: Callable[[], object]) -> float:
    """Wall time of one run; earlier garbage is not on its bill."""
    gc.collect()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def side_by_side(
    ours: Callable[[], object],
    peer: Callable[[], object],
    repeats: int = 5,
    warm_up: int = 1,
    before_each: Callable[[], object] = lambda: None,
) -> tuple[Measure, Measure, Measure]:
    """Time both alternately: ours, peer, and the ratio peer / ours of each pair of runs.

    Args:
        before_each: runs untimed before every run, to set the scene (drop a file from the page cache, say).
    """
    for _ in range(warm_up):
        ours()
        peer()
    pairs = [(timed(ours, before_each), timed(peer, before_each)) for _ in range(repeats)]
    mine, theirs = zip(*pairs, strict=True)
    ratios = [b / a for a, b in pairs]
    return measure(mine, "s"), measure(theirs, "s"), measure(ratios, "x")


def timed(run: Callable[[], object], before: Callable[[], object]) -> float:
    """Set the scene, then time."""
    before()
    return seconds(run)


Status = Literal["holds", "missed"]


def lines(outcome: Outcome) -> list[str]:
    """The outcome for people."""
    sides = [("ours", outcome.ours), ("peer", outcome.peer), ("ratio", outcome.ratio)]
    figures = [f"{name:<6}{m.median:10.4g} {m.unit:<4} ({m.low:.4g} to {m.high:.4g})" for name, m in sides]
    bounds = [f"{status(b):<7} {b.name}: {b.value:.4g} (bound {b.bound:g})" for b in outcome.bounds]
    return figures + bounds


def status(bound: Bound) -> Status:
    """A bound in one word."""
    return "holds" if bound.ok else "missed"
