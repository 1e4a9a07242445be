"""Synthetic rows: sparse sums of known directions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def sparse_sums(
    count: int, directions: int = 24, width: int = 16, active: float = 3, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return ``(count, width)`` rows and the ``(directions, width)`` unit directions that they are sums of."""
    truth = F.normalize(torch.randn(directions, width, generator=torch.Generator().manual_seed(0)))
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(count, directions, generator=generator) < active / directions
    strength = (1 + 0.3 * torch.randn(count, directions, generator=generator)).abs()
    noise = 0.05 * torch.randn(count, width, generator=generator)
    return (present * strength) @ truth + 3 + noise, truth
