"""The result of every benchmark in one form: our time, the peer's, their ratio, and the bounds to meet.

Both sides run alternately in one process, so that other load on the machine affects both; the first runs are discarded.
"""

import gc
import statistics
import time
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, Field


class BenchmarkOutput(BaseModel):
    """Base of the immutable models that make up the output of ``--json``."""

    model_config = ConfigDict(frozen=True)


class Measurement(BenchmarkOutput):
    """Median and range of several runs."""

    median: float
    low: float
    high: float
    unit: str


class Bound(BenchmarkOutput):
    """A figure, the bound that it must meet, and whether it does."""

    name: str
    value: float
    bound: float
    ok: bool


class BenchmarkResult(BenchmarkOutput):
    """The output of ``--json``."""

    name: str
    ours: Measurement
    peer: Measurement
    ratio: Measurement = Field(description="Peer over ours where less is better, ours over peer where more is.")
    bounds: list[Bound]

    @property
    def ok(self) -> bool:
        """Whether every bound is met."""
        return all(bound.ok for bound in self.bounds)


def summarize(values: Sequence[float], unit: str) -> Measurement:
    """Return the median and range of values."""
    return Measurement(median=statistics.median(values), low=min(values), high=max(values), unit=unit)


def at_least(name: str, value: float, bound: float) -> Bound:
    """Return a lower bound."""
    return Bound(name=name, value=value, bound=bound, ok=value >= bound)


def at_most(name: str, value: float, bound: float) -> Bound:
    """Return an upper bound."""
    return Bound(name=name, value=value, bound=bound, ok=value <= bound)


def time_seconds(run: Callable[[], object]) -> float:
    """Return the wall time of one run, after collecting earlier garbage."""
    gc.collect()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def time_alternately(
    ours: Callable[[], object],
    peer: Callable[[], object],
    repeats: int = 5,
    warm_up: int = 1,
    before_each: Callable[[], object] = lambda: None,
) -> tuple[Measurement, Measurement, Measurement]:
    """Time both sides alternately.

    Args:
        before_each: runs before every timed run, untimed, for instance to drop a file from the page cache.

    Returns:
        Our time, the peer's time, and the ratio peer / ours of each pair of runs.
    """

    def time_one(run: Callable[[], object]) -> float:
        before_each()
        return time_seconds(run)

    for _ in range(warm_up):
        ours()
        peer()
    pairs = [(time_one(ours), time_one(peer)) for _ in range(repeats)]
    our_times, peer_times = zip(*pairs, strict=True)
    ratios = [peer_time / our_time for our_time, peer_time in pairs]
    return summarize(our_times, "s"), summarize(peer_times, "s"), summarize(ratios, "x")


def format_lines(result: BenchmarkResult) -> list[str]:
    """Format a result for the terminal."""
    sides = [("ours", result.ours), ("peer", result.peer), ("ratio", result.ratio)]
    figures = [f"{name:<6}{m.median:10.4g} {m.unit:<4} ({m.low:.4g} to {m.high:.4g})" for name, m in sides]
    bounds = [
        f"{'met' if bound.ok else 'missed':<7} {bound.name}: {bound.value:.4g} (bound {bound.bound:g})"
        for bound in result.bounds
    ]
    return figures + bounds
