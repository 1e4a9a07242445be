"""Rank all sites with a cheap read-out, and confirm the top ones and a random control sample with an expensive one."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api_schemas.report import Estimate
from editor.stats.correlation import rank_correlation
from editor.tracing.result import Trace
from editor.tracing.sites import Site

ConfirmFn = Callable[[Sequence[Site]], Trace]
"""Traces some sites with the expensive read-out."""


@dataclass(frozen=True)
class TwoStageResult:
    """Both traces, and the confirmed sites by how they were selected."""

    cheap: Trace
    expensive: Trace
    top: tuple[Site, ...]
    control: tuple[Site, ...]
    correlation: Estimate
    """Spearman's rank correlation over the confirmed sites, with the bootstrap interval over sites."""

    @property
    def cheap_found_strongest(self) -> bool:
        """Whether the expensive read-out's strongest site is among the top ones rather than in the control sample."""
        return self.expensive.rank_sites()[0] in self.top


def screen_then_confirm(
    cheap: Trace, confirm: ConfirmFn, top: int = 8, control: int = 8, seed: int = 0
) -> TwoStageResult:
    """Select sites by ``cheap`` and trace them again by ``confirm``.

    Args:
        top: number of strongest sites to confirm.
        control: number of other sites, drawn at random, which reveal strong sites that the cheap read-out misses.
    """
    ranked = cheap.rank_sites()
    best, rest = ranked[:top], ranked[top:]
    drawn = random.Random(seed).sample(rest, min(control, len(rest)))
    expensive = confirm([*best, *drawn])
    sites = [site for site in (*best, *drawn) if site in expensive.effects]
    pairs = [(cheap.effects[site].value, expensive.effects[site].value) for site in sites]
    return TwoStageResult(cheap, expensive, tuple(best), tuple(drawn), rank_correlation(pairs, seed))
