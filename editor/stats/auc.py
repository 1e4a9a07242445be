"""How well a latent tells a concept's rows from others: AUC with DeLong's interval, corrected for looking at many latents."""

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import torch
from torch import Tensor

from api_schemas.report import Estimate

NORMAL = NormalDist()
RANKED_COLUMNS = 256
"""Latents that are ranked at once."""
MIN_VARIANCE = 1e-12


def ranks(values: Tensor) -> Tensor:
    """Ranks of each column of ``(n, m)`` from 1 on, in float64; ties share their mean rank."""
    ordered, order = values.sort(dim=0)
    places = torch.arange(1, len(values) + 1, dtype=torch.float64, device=values.device)
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[1:] = ordered[1:] != ordered[:-1]
    run = first.cumsum(0) - 1
    shape = (len(values), values.shape[1])
    totals = torch.zeros(shape, dtype=torch.float64).scatter_add_(0, run, places[:, None].expand(shape))
    counts = torch.zeros(shape, dtype=torch.float64).scatter_add_(0, run, torch.ones(shape, dtype=torch.float64))
    shared = (totals / counts.clamp_min(1)).gather(0, run)
    return torch.empty_like(shared).scatter_(0, order, shared)


@dataclass(frozen=True)
class Ranking:
    """Scores as ranks, computed once for many questions."""

    ranks: Tensor
    """``(n, m)``"""

    @classmethod
    def of(cls, scores: Tensor) -> "Ranking":
        """``(n, m)`` scores."""
        return cls(torch.cat([ranks(part) for part in torch.split(scores, RANKED_COLUMNS, dim=1)], dim=1))

    def auc(self, positive: Tensor) -> Tensor:
        """``(n,)`` bool -> ``(m,)``: the chance that a positive row scores above another, ties being half.

        The Mann-Whitney statistic over the number of pairs, in float64; 1/2 where one side is empty.
        """
        high, low = int(positive.sum()), int((~positive).sum())
        if not high or not low:
            return torch.full((self.ranks.shape[1],), 0.5, dtype=torch.float64)
        return (self.ranks[positive].sum(0) - high * (high + 1) / 2) / (high * low)

    def p_values(self, positive: Tensor) -> Tensor:
        """``(m,)``: chance of an AUC as high when the concept does not matter; the normal form, ties corrected."""
        high, low = int(positive.sum()), int((~positive).sum())
        statistic = self.ranks[positive].sum(0) - high * (high + 1) / 2
        variance = self.ranks.var(0) * high * low / (high + low)
        found: Tensor = torch.special.ndtr((high * low / 2 - statistic) / variance.clamp_min(MIN_VARIANCE).sqrt())
        return found


def auc(scores: Tensor, positive: Tensor) -> Tensor:
    """``(n, m)`` scores, ``(n,)`` bool -> ``(m,)``, as ``Ranking.auc``."""
    return Ranking.of(scores).auc(positive)


def delong_interval(scores: Tensor, positive: Tensor, confidence: float = 0.95) -> Estimate:
    """AUC of ``(n,)`` scores with DeLong's interval (DeLong et al. 1988; ranks as in Sun & Xu 2014).

    A perfect separation has no variance to go by; its interval is Wilson's for the smaller side.
    """
    sides = scores[positive], scores[~positive]
    high, low = map(len, sides)
    whole = ranks(scores[:, None])[:, 0]
    own_high, own_low = (ranks(side[:, None])[:, 0] for side in sides)
    above = (whole[positive] - own_high) / low
    below = 1 - (whole[~positive] - own_low) / high
    value = float(above.mean())
    variance = unbiased_variance(above) / high + unbiased_variance(below) / low
    reach = NORMAL.inv_cdf((1 + confidence) / 2)
    if variance == 0:
        end = min(high, low) / (min(high, low) + reach**2)
        return Estimate(value=value, low=min(value, end), high=max(value, 1 - end), n=len(scores))
    margin = reach * sqrt(variance)
    return Estimate(value=value, low=max(0.0, value - margin), high=min(1.0, value + margin), n=len(scores))


def unbiased_variance(values: Tensor) -> float:
    """Unbiased variance; 0 of one value."""
    return float(values.var()) if len(values) > 1 else 0.0


def benjamini_hochberg(p: Tensor) -> Tensor:
    """Benjamini & Hochberg's (1995) adjusted p-values: rejecting those below q makes q of the rejections wrong, at most."""
    ordered, order = p.sort()
    scaled = ordered * len(p) / torch.arange(1, len(p) + 1, dtype=p.dtype)
    smallest = scaled.flip(0).cummin(0).values.flip(0).clamp_max(1)
    return torch.empty_like(p).scatter_(0, order, smallest)


@dataclass(frozen=True)
class BestLatent:
    """The latent that stands out for a concept."""

    latent: int
    train: float
    """AUC on the half that it was chosen by."""
    test: Estimate
    """AUC on the other half, with its interval."""
    q_value: float
    """Of the choice, corrected for the number of latents."""


def best_latent(scores: Tensor, positive: Tensor, train: Tensor, ranking: Ranking | None = None) -> BestLatent:
    """Choose the latent of the highest AUC on the train half of ``(n, latents)`` scores, measure it on the test half.

    Args:
        ranking: of the train half, where it is at hand.
    """
    ranking = ranking or Ranking.of(scores[train])
    found = ranking.auc(positive[train])
    latent = int(found.argmax())
    q = benjamini_hochberg(ranking.p_values(positive[train]))
    return BestLatent(
        latent, float(found[latent]), delong_interval(scores[~train, latent], positive[~train]), float(q[latent])
    )
