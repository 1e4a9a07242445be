"""How many images a pipeline generates at once: fewer where they do not fit the memory."""

import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch

from editor.errors import DeviceError
from editor.generation.memory_budget import MemoryBudget, measure_peak_memory

MAX_IMAGES = 32
"""Images in one batch."""
OUT_OF_MEMORY_MESSAGES = ("out of memory", "not enough memory", "can't allocate memory")
"""What torch says in errors that have no class of their own: on a CPU, and in Apple's MPS."""
Result = TypeVar("Result")


@dataclass
class BatchSize:
    """The number of images that one pipeline generates at once, and the numbers that did not fit the memory."""

    images: int = MAX_IMAGES
    exceeded: list[int] = field(default_factory=list)
    memory: int | None = None
    """Ceiling for the memory of activations in bytes."""

    def fit(self, generate_one: Callable[[], Result]) -> Result:
        """Generate one image, and set the number of images to what the ceiling allows."""
        assert self.memory is not None
        results: list[Result] = []
        peak = measure_peak_memory(lambda: results.append(generate_one()))
        self.images = MemoryBudget(self.memory, MAX_IMAGES).image_batch_size(peak)
        self.memory = None
        return results[0]

    def halve(self, images: int) -> None:
        """Note that a batch did not fit the memory, and halve the number.

        Raises:
            DeviceError: one image does not fit.
        """
        self.exceeded.append(images)
        if images == 1:
            raise DeviceError(
                "The memory of the device does not suffice for one image.",
                field="device",
                remedy="Set EXPUNGE_OFFLOAD to model or sequential and EXPUNGE_VAE_TILING to true, or use a lower precision.",
            )
        self.images = images // 2


SIZES: "WeakKeyDictionary[Any, BatchSize]" = WeakKeyDictionary()


def batch_size_of(pipeline: Any) -> BatchSize:
    """Return the batch size of a pipeline, which it keeps from one call to the next."""
    return SIZES.setdefault(pipeline, BatchSize())


def forget_batch_size(pipeline: Any) -> None:
    """Let a pipeline start with the largest batch again."""
    SIZES.pop(pipeline, None)


def attempt(run: Callable[[], Result]) -> Result | None:
    """Return the result, or None if the memory did not suffice; then what was allocated is freed."""
    try:
        return run()
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    free_memory()  # outside of the handler, whose traceback keeps the tensors alive
    return None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that the memory did not suffice."""
    known = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return known or any(text in str(error).lower() for text in OUT_OF_MEMORY_MESSAGES)


def free_memory() -> None:
    """Return cached memory to the device."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    elif torch.backends.mps.is_available():
        torch.mps.empty_cache()
