"""Ranks with ties, on which AUC and Spearman's correlation rest."""

import torch
from torch import Tensor


def average_ranks(values: Tensor) -> Tensor:
    """Return the ranks of each column of ``(n, m)``, counted from 1, in float64; tied values share their mean rank."""
    ordered, order = values.sort(dim=0)
    positions = torch.arange(1, len(values) + 1, dtype=torch.float64, device=values.device)
    starts = torch.ones_like(ordered, dtype=torch.bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    tie = starts.cumsum(0) - 1
    shape = (len(values), values.shape[1])
    totals = torch.zeros(shape, dtype=torch.float64).scatter_add_(0, tie, positions[:, None].expand(shape))
    counts = torch.zeros(shape, dtype=torch.float64).scatter_add_(0, tie, torch.ones(shape, dtype=torch.float64))
    shared = (totals / counts.clamp_min(1)).gather(0, tie)
    return torch.empty_like(shared).scatter_(0, order, shared)
