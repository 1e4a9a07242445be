"""Rank all sites with a cheap read-out, confirm the top ones and a random control sample with a dear one."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from api_schemas.report import Estimate
from editor.stats.correlation import rank_correlation
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
