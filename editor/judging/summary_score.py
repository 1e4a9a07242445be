"""One figure for a removal: gone where it is named, gone where it is meant, and everything else still there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from api_schemas.judging import Estimate, HarmonicScore
from editor.stats.intervals import bootstrap_means, percentile_interval

if TYPE_CHECKING:
    from editor.judging.evaluation import GroupEvaluation


def harmonic_mean(efficacy: float, specificity: float, generality: float) -> float:
    """Harmonic mean of the three (MACE, Lu et al. 2024, eq. 11); 0 where one of them is."""
    parts = (efficacy, specificity, generality)
    return len(parts) / sum(1 / part for part in parts) if all(part > 0 for part in parts) else 0.0


def harmonic_scores(trials: Sequence["GroupEvaluation"], confidence: float) -> list[HarmonicScore]:
    """For each removal that was asked about in all three ways."""
    found = []
    for removal in sorted({t.group.removal for t in trials if t.group.removal is not None}):
        own = {t.group.name: t for t in trials if t.group.removal == removal}
        asks = own["target"].group.kind
        stays = [t for t in trials if t.group.kind == asks and t.group.name in ("neighbours", "retain")]
        stays = [t for t in stays if t.group.removal in (removal, None)]
        if "generality" in own and stays:
            kept = [hit for t in stays for hit in t.after.hits]
            gone = [[1 - hit for hit in own[name].after.hits] for name in ("target", "generality")]
            found.append(harmonic_score(removal, gone[0], kept, gone[1], confidence))
    return found


def harmonic_score(
    removal: int, target: Sequence[float], kept: Sequence[float], general: Sequence[float], confidence: float
) -> HarmonicScore:
    """From a value for each prompt; the interval resamples the prompts of each group (percentile bootstrap)."""
    columns = [np.asarray(values, dtype=np.float64) for values in (target, kept, general)]
    efficacy, specificity, generality = (float(column.mean()) for column in columns)
    generator = np.random.default_rng(0)
    drawn = np.stack([bootstrap_means(column, generator) for column in columns])
    with np.errstate(divide="ignore"):
        means = len(columns) / (1 / drawn).sum(0)
    low, high = percentile_interval(means, confidence)
    value = harmonic_mean(efficacy, specificity, generality)
    return HarmonicScore(
        removal=removal,
        efficacy=efficacy,
        specificity=specificity,
        generality=generality,
        harmonic=Estimate(value=value, low=low, high=high, n=sum(map(len, columns))),
    )
