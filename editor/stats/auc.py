"""Area under the ROC curve with DeLong's interval, and the choice of the best latent with a correction for many tests."""

from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from api_schemas.report import Estimate
from editor.stats.intervals import critical_value
from editor.stats.ranks import average_ranks

RANKED_COLUMNS = 256
"""Columns that are ranked in one batch."""
MIN_VARIANCE = 1e-12


@dataclass(frozen=True)
class Ranking:
    """The ranks of scores, computed once and used for many labellings."""

    ranks: Tensor
    """``(n, m)``"""

    @classmethod
    def of(cls, scores: Tensor) -> "Ranking":
        """Rank each column of the scores ``(n, m)``."""
        return cls(torch.cat([average_ranks(part) for part in torch.split(scores, RANKED_COLUMNS, dim=1)], dim=1))

    def auc(self, positive: Tensor) -> Tensor:
        """Return the AUC ``(m,)`` of each column for the labels ``positive`` ``(n,)``, in float64.

        This is the Mann-Whitney statistic divided by the number of pairs, with ties counted half; 1/2 if either class is
        empty.
        """
        high, low = int(positive.sum()), int((~positive).sum())
        if not high or not low:
            return torch.full((self.ranks.shape[1],), 0.5, dtype=torch.float64)
        return (self.ranks[positive].sum(0) - high * (high + 1) / 2) / (high * low)

    def p_values(self, positive: Tensor) -> Tensor:
        """Return one-sided p-values ``(m,)`` of the Mann-Whitney test, by the normal approximation with tie correction."""
        high, low = int(positive.sum()), int((~positive).sum())
        statistic = self.ranks[positive].sum(0) - high * (high + 1) / 2
        variance = self.ranks.var(0) * high * low / (high + low)
        z = (high * low / 2 - statistic) / variance.clamp_min(MIN_VARIANCE).sqrt()
        p_values: Tensor = torch.special.ndtr(z)
        return p_values


def auc(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the AUC ``(m,)`` of scores ``(n, m)`` for labels ``(n,)``; see `Ranking.auc`."""
    return Ranking.of(scores).auc(positive)


def delong_interval(scores: Tensor, positive: Tensor, confidence: float = 0.95) -> Estimate:
    """Return the AUC of ``(n,)`` scores with DeLong's interval (DeLong et al. 1988; ranks as in Sun & Xu 2014).

    A perfect separation has variance 0; its interval is Wilson's for the smaller class.
    """
    classes = scores[positive], scores[~positive]
    high, low = map(len, classes)
    ranks = average_ranks(scores[:, None])[:, 0]
    high_ranks, low_ranks = (average_ranks(own[:, None])[:, 0] for own in classes)
    above = (ranks[positive] - high_ranks) / low
    below = 1 - (ranks[~positive] - low_ranks) / high
    value = float(above.mean())
    variance = unbiased_variance(above) / high + unbiased_variance(below) / low
    z = critical_value(confidence)
    if variance == 0:
        end = min(high, low) / (min(high, low) + z**2)
        return Estimate(value=value, low=min(value, end), high=max(value, 1 - end), n=len(scores))
    margin = z * sqrt(variance)
    return Estimate(value=value, low=max(0.0, value - margin), high=min(1.0, value + margin), n=len(scores))


def unbiased_variance(values: Tensor) -> float:
    """Return the sample variance; 0 for a single value."""
    return float(values.var()) if len(values) > 1 else 0.0


def benjamini_hochberg(p_values: Tensor) -> Tensor:
    """Return the adjusted p-values of Benjamini & Hochberg (1995), which control the false discovery rate."""
    ordered, order = p_values.sort()
    scaled = ordered * len(ordered) / torch.arange(1, len(ordered) + 1, dtype=ordered.dtype)
    smallest = scaled.flip(0).cummin(0).values.flip(0).clamp_max(1)
    return torch.empty_like(ordered).scatter_(0, order, smallest)


@dataclass(frozen=True)
class BestLatent:
    """The latent with the highest AUC for a concept."""

    latent: int
    train: float
    """AUC on the half that the latent was chosen on."""
    test: Estimate
    """AUC on the other half, with its interval."""
    q_value: float
    """Adjusted p-value of the choice, over all latents."""


def best_latent(scores: Tensor, positive: Tensor, train: Tensor, ranking: Ranking | None = None) -> BestLatent:
    """Choose the latent of the highest AUC on the train half of ``(n, latents)`` scores, and measure it on the test half.

    Args:
        ranking: of the train half, if the caller has computed it.
    """
    ranking = ranking or Ranking.of(scores[train])
    areas = ranking.auc(positive[train])
    latent = int(areas.argmax())
    q_values = benjamini_hochberg(ranking.p_values(positive[train]))
    test = delong_interval(scores[~train, latent], positive[~train])
    return BestLatent(latent, float(areas[latent]), test, float(q_values[latent]))
