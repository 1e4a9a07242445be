"""What is to be drawn, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Tick = Callable[[float], None]
"""Told the finished fraction; may raise to stop."""


@dataclass(frozen=True)
class Shot:
    """One image to draw."""

    prompt: str
    seed: int


Precision = Literal["float32", "bfloat16"]


def native_precision() -> Precision:
    """bfloat16 where the processor multiplies it natively, which nearly halves the time of an image."""
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"


@dataclass(frozen=True)
class Sampler:
    """How images are drawn; part of the key of the cache."""

    steps: int
    guidance: float
    precision: Precision = "float32"


@dataclass(frozen=True)
class Stretch:
    """A part of a longer progress: from ``start``, ``share`` of the whole long."""

    tick: Tick
    start: float
    share: float

    def __call__(self, done: float) -> None:
        """Tell the whole's fraction."""
        self.tick(self.start + self.share * done)


Image = np.ndarray
"""(height, width, 3) uint8."""


States = tuple[Tensor, ...]
"""One ``(rows, positions, width)`` for each text encoder of the model."""
