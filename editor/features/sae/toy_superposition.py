"""Toy data with known features: sparse sums of more directions than dimensions (superposition)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class ToySuperposition:
    """Sparse sums of ``directions`` unit vectors in ``width`` dimensions, on average ``active`` of them per row.

    Frequencies are log-normal, magnitudes |N(1, 0.3)|, and Gaussian noise is added to each dimension.
    """

    width: int
    directions: int
    active: float
    noise: float = 0.05
    spread: float = 0.7
    """Standard deviation of the log frequencies."""
    seed: int = 0

    def true_directions(self) -> Tensor:
        """Return the ``(directions, width)`` unit vectors."""
        return F.normalize(torch.randn(self.directions, self.width, generator=self.generator_for(0)))

    def rows(self, count: int, part: int = 1) -> Tensor:
        """Sample ``(count, width)`` rows; a different ``part`` gives different rows."""
        return self.feature_activations(count, part) @ self.true_directions() + self.noise * torch.randn(
            count, self.width, generator=self.generator_for(2 * part + 1)
        )

    def feature_activations(self, count: int, part: int = 1) -> Tensor:
        """Sample the ``(count, directions)`` magnitude of each direction in each row, mostly 0."""
        generator = self.generator_for(2 * part)
        magnitudes = (1 + 0.3 * torch.randn(count, self.directions, generator=generator)).abs()
        return magnitudes * (torch.rand(count, self.directions, generator=generator) < self.frequencies())

    def frequencies(self) -> Tensor:
        """Return the probability of each direction, ``(directions,)``."""
        weights = torch.exp(self.spread * torch.randn(self.directions, generator=self.generator_for(1)))
        return (self.active * weights / weights.sum()).clamp_max(0.5)

    def generator_for(self, purpose: int) -> torch.Generator:
        """Return a generator for one purpose, with a seed that training does not use."""
        return torch.Generator().manual_seed((self.seed + 1) * 1_000_003 + purpose)
