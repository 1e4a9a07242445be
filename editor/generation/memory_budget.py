"""A ceiling on memory, and how many rows and samples fit beneath it."""

import re
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from api_schemas.errors import UsageError
from editor.generation.clip_runner import CLIPTextRunner

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
DEFAULT_MEMORY_BYTES = 2 * 10**9
MAX_BATCH_SIZE = 64
"""More rows at once are no faster on any machine that was tried, and keep a caller waiting between two batches."""
ALLOCATOR_OVERHEAD = 1.25
"""For what libraries allocate out of sight."""
FLOAT32_BYTES = 4


def parse_memory(text: str) -> int:
    """``"2GB"`` -> bytes.

    Raises:
        UsageError: it is no amount of memory.
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([KMG]?I?)B?\s*", text.upper())
    if not match or not float(match[1]):
        raise UsageError(f"{text!r} is no amount of memory.", field="memory", remedy='Say "500MB" or "2GB".')
    return int(float(match[1]) * UNITS[match[2]])


@dataclass(frozen=True)
class MemoryBudget:
    """Bytes for activations; weights are not counted."""

    activation_bytes: int = DEFAULT_MEMORY_BYTES
    max_batch_size: int = MAX_BATCH_SIZE

    def max_samples(self, towers: Sequence[CLIPTextRunner], positions: int) -> int:
        """How many clean and corrupted runs to keep at once, in half of the memory; at least one."""
        each = sum(14 * tower.depth * positions * tower.width * FLOAT32_BYTES for tower in towers)
        return max(1, self.activation_bytes // 2 // each)

    def text_batch_size(self, towers: Sequence[CLIPTextRunner], positions: int) -> int:
        """How many restored runs to compute at once, in a quarter of the memory; at least one."""
        each = max(positions * 24 * tower.width * FLOAT32_BYTES for tower in towers)
        return max(1, self.activation_bytes // 4 // each)

    def image_batch_size(self, of_one_row: int) -> int:
        """How many rows of the image backbone, given what one needs; at least one."""
        return max(1, min(self.max_batch_size, int(self.activation_bytes / (ALLOCATOR_OVERHEAD * max(1, of_one_row)))))


class PeakMemoryTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Watches how much memory the tensors made within it hold at once, at most."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        given = {storage.data_ptr() for storage in tensor_storages((args, kwargs))}
        for storage in tensor_storages(output):
            if storage.data_ptr() not in given:  # a view, of a weight perhaps, is nothing new
                self.track(storage)
        return output

    def track(self, storage: Any) -> None:
        """Count a storage once, until it is freed."""
        place, size = storage.data_ptr(), storage.nbytes()
        if place in self.known or not size:
            return
        self.known.add(place)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self.release, place, size)

    def release(self, place: int, size: int) -> None:
        """A storage is gone."""
        self.known.discard(place)
        self.live -= size


def tensor_storages(tree: Any) -> list[Any]:
    """Of all tensors in nested lists and dictionaries."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def measure_peak_memory(run: Callable[[], object]) -> int:
    """Bytes that the tensors made in ``run`` hold at once, at most."""
    with torch.no_grad(), PeakMemoryTracker() as watch:
        run()
    return int(watch.peak)
