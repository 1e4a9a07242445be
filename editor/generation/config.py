"""What to generate and how: image specifications, sampler settings and the types that generation exchanges."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Image = np.ndarray
"""``(height, width, 3)`` uint8."""
EncoderStates = tuple[Tensor, ...]
"""Output hidden states of each text encoder, ``(rows, positions, width)``, in pipeline order."""
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ImageSpec:
    """One image to generate."""

    prompt: str
    seed: int


@dataclass(frozen=True)
class Sampler:
    """Sampler settings. They are part of the image cache's key."""

    steps: int
    guidance: float
    precision: Precision = "float32"


def native_precision() -> Precision:
    """Return bfloat16 if the CPU multiplies it natively, which nearly halves the time per image; else float32."""
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() else "float32"
