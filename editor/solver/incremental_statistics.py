"""Statistics of a changing set of items: added items are summed, removed items are subtracted, without a rounding error.

An item is anything hashable that has statistics of its own, such as a removal.
"""

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from threading import Event
from typing import Generic, TypeVar

import torch
from pydantic import TypeAdapter

from editor.io.progress import CHECK_SECONDS, report_fraction
from editor.solver.fixed_point import FixedPointStatistics
from editor.solver.tensor_cache import TensorCache

Item = TypeVar("Item", bound=Hashable)


@dataclass(frozen=True)
class IncrementalStatistics(Generic[Item]):
    """A set of items and the sum of their statistics."""

    items: frozenset[Item]
    total: FixedPointStatistics

    def change_to(
        self, items: Iterable[Item], statistics_of: Callable[[Item], FixedPointStatistics]
    ) -> "IncrementalStatistics[Item]":
        """Return the statistics of another set, computed from the difference unless summing that set anew is shorter."""
        wanted = frozenset(items)
        added, removed = wanted - self.items, self.items - wanted
        if len(added) + len(removed) > len(wanted):
            return IncrementalStatistics(wanted, sum_statistics(self.total, wanted, statistics_of))
        more, less = (sum_statistics(self.total, part, statistics_of) for part in (added, removed))
        return IncrementalStatistics(wanted, self.total.add_and_subtract([more], [less]))


def sum_statistics(
    like: FixedPointStatistics, items: Iterable[Item], statistics_of: Callable[[Item], FixedPointStatistics]
) -> FixedPointStatistics:
    """Sum the statistics of items in parallel, an equal share on each core.

    Each item's statistics are computed by a single thread, so they do not depend on the number of cores; neither does an
    integer sum. Reports the finished share.

    Args:
        like: statistics of the same shape and step.
        items: the items to sum over.
        statistics_of: computes the statistics of an item.
    """
    zeros, every = FixedPointStatistics.zeros(like.target_shape, like.step), list(items)
    threads = torch.get_num_threads()
    shares = [every[start::threads] for start in range(min(threads, len(every)))]
    started, stop = list[Item](), Event()

    def compute(share: Sequence[Item]) -> Iterator[FixedPointStatistics]:
        for item in share:
            if stop.is_set():
                return
            started.append(item)
            yield statistics_of(item)

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            sums = [pool.submit(zeros.add_and_subtract, compute(share), ()) for share in shares]
            try:
                while wait(sums, CHECK_SECONDS, FIRST_EXCEPTION).not_done:
                    report_fraction(len(started) / len(every))
            finally:
                stop.set()  # the threads are done, or the work was canceled or has failed
    finally:
        torch.set_num_threads(threads)
    return zeros.add_and_subtract([each.result() for each in sums], ())


def cache_key(*parts: str) -> str:
    """Return a digest of everything that must match for statistics to be bit-identical.

    Args:
        parts: the caller's settings; the version of torch and the CPU's instruction set are added.
    """
    arithmetic = [torch.__version__, torch.backends.cpu.get_cpu_capability()]
    return hashlib.sha256("\n".join([*arithmetic, *parts]).encode()).hexdigest()


def load_statistics(
    cache: TensorCache, name: str, key: str, items: TypeAdapter[tuple[Item, ...]], shape: tuple[int, int], step: float
) -> IncrementalStatistics[Item]:
    """Return the cached statistics if they were stored with the same ``key``, else those of the empty set.

    Args:
        cache: where :func:`store_statistics` stored them.
        name: their name in the cache.
        key: see :func:`cache_key`.
        items: parses the items.
        shape: dimensions of the residuals and of the keys, (o, d).
        step: quantization step.
    """
    cached = cache.get(name)
    if cached is not None:
        header, tensors = json.loads(cached[0]), cached[1]
        if header.get("key") == key:
            total = FixedPointStatistics(step, tensors["moment"], tensors["target"], header["row_count"])
            return IncrementalStatistics(frozenset(items.validate_python(header["items"])), total)
    return IncrementalStatistics(frozenset(), FixedPointStatistics.zeros(shape, step))


def store_statistics(
    cache: TensorCache,
    name: str,
    key: str,
    items: TypeAdapter[tuple[Item, ...]],
    statistics: IncrementalStatistics[Item],
) -> None:
    """Store statistics for the next solve; see :func:`load_statistics`."""
    header = {
        "key": key,
        "items": items.dump_python(tuple(sorted(statistics.items, key=repr)), mode="json"),
        "row_count": statistics.total.row_count,
    }
    cache.put(name, json.dumps(header), {"moment": statistics.total.moment, "target": statistics.total.target})
