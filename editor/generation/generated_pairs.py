"""What a caller sees of the images of a validation while they are generated. Importing this module does not import torch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class GeneratedPair:
    """Images of one prompt at one seed, ``(height, width, 3)`` uint8."""

    prompt: str
    seed: int
    before: np.ndarray
    """By the base model."""
    after: np.ndarray | None
    """By the edited model; None until it has generated it."""


PairObserver = Callable[[Sequence[GeneratedPair]], object]
"""Called with each batch of new images. May raise to cancel the work."""


def ignore_pairs(pairs: Sequence[GeneratedPair]) -> None:
    """Observe nothing."""
