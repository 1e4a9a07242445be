"""Rank all sites with a cheap read-out, confirm the top ones and a random control sample with a dear one."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from api_schemas.report import Estimate
from editor.judging.statistics import RESAMPLES
from editor.tracing.result import Trace
from editor.tracing.sites import Site

Confirm = Callable[[Sequence[Site]], Trace]


@dataclass(frozen=True)
class Screening:
    """Both traces; ``top`` and ``control`` are the confirmed sites, by why they were chosen."""

    cheap: Trace
    dear: Trace
    top: tuple[Site, ...]
    control: tuple[Site, ...]
    correlation: Estimate
    """Spearman's, over the confirmed sites, with the bootstrap interval over sites."""

    @property
    def upheld(self) -> bool:
        """Whether the dear read-out finds its strongest site among the top ones, rather than in the control sample."""
        return self.dear.ranked()[0] in self.top


def screen_then_confirm(cheap: Trace, confirm: Confirm, top: int = 8, control: int = 8, seed: int = 0) -> Screening:
    """Choose sites by ``cheap`` and trace them again by ``confirm``.

    Args:
        top: strongest sites to confirm.
        control: sites drawn at random among the others, so that a site which the cheap read-out misses can show.
    """
    ranked = cheap.ranked()
    best, rest = ranked[:top], ranked[top:]
    drawn = random.Random(seed).sample(rest, min(control, len(rest)))
    dear = confirm([*best, *drawn])
    sites = [site for site in (*best, *drawn) if site in dear.effects]
    pairs = [(cheap.effects[site].value, dear.effects[site].value) for site in sites]
    return Screening(cheap, dear, tuple(best), tuple(drawn), rank_correlation(pairs, seed))


def rank_correlation(pairs: Sequence[tuple[float, float]], seed: int = 0) -> Estimate:
    """Spearman's rank correlation with its 95 % bootstrap interval over the pairs; 0 where one side is constant."""
    values = np.asarray(pairs, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile([spearman(values[draw]) for draw in draws], [0.025, 0.975])
    return Estimate(value=spearman(values), low=float(low), high=float(high), n=len(values))


def spearman(values: np.ndarray) -> float:
    """Of ``(n, 2)``."""
    first, second = (ranks(column) - (len(column) + 1) / 2 for column in values.T)
    scale = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / scale if scale else 0.0


def ranks(values: np.ndarray) -> np.ndarray:
    """From 1 on; ties share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean: np.ndarray = (last - (counts - 1) / 2)[inverse]
    return mean
