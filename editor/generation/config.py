"""What to generate and how: image specifications, sampler settings and the types that generation exchanges."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from editor.generation.device import Precision as Precision
from editor.generation.device import native_precision as native_precision

Image = np.ndarray
"""``(height, width, 3)`` uint8."""
EncoderStates = tuple[Tensor, ...]
"""Output hidden states of each text encoder, ``(rows, positions, width)``, in pipeline order."""


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
