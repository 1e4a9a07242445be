"""What is to be drawn, and how."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageSpec:
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


Image = np.ndarray
"""(height, width, 3) uint8."""


EncoderStates = tuple[Tensor, ...]
"""One ``(rows, positions, width)`` for each text encoder of the model."""
