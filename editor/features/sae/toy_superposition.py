"""Rows whose true features are known: sparse sums of more directions than there are dimensions."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ToySuperposition:
    """``directions`` unit vectors in ``width`` dimensions, ``active`` of them in a row on average.

    Some are frequent and some rare (log-normal frequencies); magnitudes are |N(1, 0.3)|; noise is added to each dimension.
    """

    width: int
    directions: int
    active: float
    noise: float = 0.05
    spread: float = 0.7
    """Standard deviation of the logarithm of the frequencies."""
    seed: int = 0

    def true_directions(self) -> Tensor:
        """``(directions, width)`` unit vectors."""
        return F.normalize(torch.randn(self.directions, self.width, generator=self.generator_for(0)))

    def rows(self, count: int, part: int = 1) -> Tensor:
        """``(count, width)``; another ``part`` draws other rows."""
        return self.feature_activations(count, part) @ self.true_directions() + self.noise * torch.randn(
            count, self.width, generator=self.generator_for(2 * part + 1)
        )

    def feature_activations(self, count: int, part: int = 1) -> Tensor:
        """``(count, directions)``: how strongly each direction is present, mostly 0."""
        drawn = self.generator_for(2 * part)
        magnitudes = (1 + 0.3 * torch.randn(count, self.directions, generator=drawn)).abs()
        return magnitudes * (torch.rand(count, self.directions, generator=drawn) < self.frequencies())

    def frequencies(self) -> Tensor:
        """``(directions,)``: share of the rows in which each is present."""
        weights = torch.exp(self.spread * torch.randn(self.directions, generator=self.generator_for(1)))
        return (self.active * weights / weights.sum()).clamp_max(0.5)

    def generator_for(self, purpose: int) -> torch.Generator:
        """The randomness for one purpose; none that training from a small seed would draw too."""
        return torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + purpose)
