"""Spearman's rank correlation with a bootstrap interval."""

from collections.abc import Sequence

import numpy as np
import torch

from api_schemas.report import Estimate
from editor.stats.intervals import RESAMPLES, Values
from editor.stats.ranks import average_ranks


def rank_correlation(pairs: Sequence[tuple[float, float]], seed: int = 0) -> Estimate:
    """Return Spearman's rank correlation with its 95 % bootstrap interval over the pairs."""
    values = np.asarray(pairs, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile([spearman(values[draw]) for draw in draws], [0.025, 0.975])
    return Estimate(value=spearman(values), low=float(low), high=float(high), n=len(values))


def spearman(pairs: Values) -> float:
    """Return Spearman's rank correlation of ``(n, 2)`` values; 0 if either column is constant."""
    first, second = average_ranks(torch.from_numpy(pairs)).numpy().T - (len(pairs) + 1) / 2
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else 0.0
