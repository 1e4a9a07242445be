"""Sums that follow a changing set of removals: what came is added, what went is taken out, bit for bit."""

import hashlib
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from pydantic import TypeAdapter

from editor.prompts import PromptBook, Removal
from editor.solver.fixed_point import Sums, nothing
from editor.solver.tensor_cache import Memory

REMOVALS = TypeAdapter(tuple[Removal, ...])


@dataclass(frozen=True)
class Running:
    """A set of removals and their sums."""

    removals: frozenset[Removal]
    sums: Sums

    def changed_to(self, wanted: Iterable[Removal], sums_of: Callable[[Removal], Sums]) -> "Running":
        """The sums of another set: by the difference, or from nothing where that is shorter."""
        target = frozenset(wanted)
        added, gone = target - self.removals, self.removals - target
        if len(added) + len(gone) > len(target):
            return Running(target, summed(self.sums, target, sums_of))
        more, less = (summed(self.sums, part, sums_of) for part in (added, gone))
        return Running(target, self.sums.changed_by([more], [less]))


def summed(like: Sums, removals: Iterable[Removal], sums_of: Callable[[Removal], Sums]) -> Sums:
    """The sum over some removals, a share of them on each core: integers come to the same whoever adds them.

    Each is computed by one thread, so that it is the same on every number of cores.

    Args:
        like: of the same width and unit.
    """
    empty, every, threads = nothing(len(like.moment), like.unit), list(removals), torch.get_num_threads()
    shares = [every[start::threads] for start in range(min(threads, len(every)))]
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads) as pool:
            parts = list(pool.map(lambda share: empty.changed_by(map(sums_of, share), ()), shares))
    finally:
        torch.set_num_threads(threads)
    return empty.changed_by(parts, ())


def circumstances(book: PromptBook, *more: str) -> str:
    """What must be the same for a removal's sums to come out the same to the bit."""
    arithmetic = [torch.__version__, torch.backends.cpu.get_cpu_capability()]
    return hashlib.sha256("\n".join([*arithmetic, book.profile.model_dump_json(), *more]).encode()).hexdigest()


def recall(memory: Memory, name: str, under: str, width: int, unit: float) -> Running:
    """What was kept under the same circumstances; else nothing."""
    known = memory.recall(name)
    if known is not None:
        header, tensors = json.loads(known[0]), known[1]
        if header["circumstances"] == under:
            removals = frozenset(REMOVALS.validate_python(header["removals"]))
            return Running(removals, Sums(unit, tensors["moment"], tensors["target"], header["columns"]))
    return Running(frozenset(), nothing(width, unit))


def keep(memory: Memory, name: str, under: str, running: Running) -> None:
    """For the next time."""
    header = {
        "circumstances": under,
        "removals": REMOVALS.dump_python(tuple(sorted(running.removals, key=repr)), mode="json"),
        "columns": running.sums.columns,
    }
    memory.keep(name, json.dumps(header), {"moment": running.sums.moment, "target": running.sums.target})
