"""A limit on activation memory, and the batch sizes that fit it."""

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from editor.generation.clip_runner import CLIPTextRunner

DEFAULT_MEMORY_BYTES = 2 * 10**9
MAX_BATCH_SIZE = 64
"""Larger batches were no faster on any machine we tried, and they delay progress reports and cancellation."""
ALLOCATOR_OVERHEAD = 1.25
"""Factor for memory that libraries allocate outside torch tensors."""
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class MemoryBudget:
    """Limits of a batch; weights do not count."""

    activation_bytes: int = DEFAULT_MEMORY_BYTES
    max_batch_size: int = MAX_BATCH_SIZE

    def max_samples(self, encoders: Sequence[CLIPTextRunner], positions: int) -> int:
        """Return how many clean and corrupted encoder runs fit half of the memory; at least one."""
        each = sum(14 * encoder.depth * positions * encoder.width * FLOAT32_BYTES for encoder in encoders)
        return max(1, self.activation_bytes // 2 // each)

    def text_batch_size(self, encoders: Sequence[CLIPTextRunner], positions: int) -> int:
        """Return how many patched encoder runs fit a quarter of the memory; at least one."""
        each = max(positions * 24 * encoder.width * FLOAT32_BYTES for encoder in encoders)
        return max(1, self.activation_bytes // 4 // each)

    def image_batch_size(self, bytes_per_image: int) -> int:
        """Return how many images fit the memory in one batch of the denoiser; at least one."""
        fitting = int(self.activation_bytes / (ALLOCATOR_OVERHEAD * max(1, bytes_per_image)))
        return max(1, min(self.max_batch_size, fitting))


class PeakMemoryTracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Track the peak memory of the tensors that are created while the mode is active."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live_bytes = 0
        self.peak_bytes = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        inputs = {storage.data_ptr() for storage in tensor_storages((args, kwargs))}
        for storage in tensor_storages(output):
            if storage.data_ptr() not in inputs:  # A view, of a weight for instance, allocates nothing.
                self.track(storage)
        return output

    def track(self, storage: Any) -> None:
        """Count a storage once, until it is freed."""
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self.known or not size:
            return
        self.known.add(address)
        self.live_bytes += size
        self.peak_bytes = max(self.peak_bytes, self.live_bytes)
        weakref.finalize(storage, self.release, address, size)

    def release(self, address: int, size: int) -> None:
        """Stop counting a storage that was freed."""
        self.known.discard(address)
        self.live_bytes -= size


def tensor_storages(tree: Any) -> list[Any]:
    """Return the storages of all tensors in nested lists and dictionaries."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def measure_peak_memory(run: Callable[[], object]) -> int:
    """Return the peak memory in bytes of the tensors that ``run`` creates."""
    with torch.no_grad(), PeakMemoryTracker() as tracker:
        run()
    return int(tracker.peak_bytes)
