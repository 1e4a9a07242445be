"""What to generate and how: image specifications, sampler settings and the types that generation exchanges."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from editor.generation.device import ComputeDevice
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
    height: int | None = None
    """In pixels, with ``width``; None: the size that the model was trained on."""
    width: int | None = None
    device: str = "cpu"
    """The type of the device. The same seed gives the same noise on every device, but sums are rounded differently."""

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width in pixels; None: the size that the model was trained on."""
        return (self.height, self.width) if self.height and self.width else None


def make_sampler(device: ComputeDevice, steps: int, guidance: float) -> Sampler:
    """Return sampler settings for a device, in its precision and at the model's own size."""
    return Sampler(steps, guidance, device.precision, device=device.torch_device.type)
