"""A single figure for each removal: the harmonic mean of efficacy, specificity and generality."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from api_schemas.judging import Estimate, HarmonicScore
from editor.stats.intervals import bootstrap_means, percentile_interval

if TYPE_CHECKING:
    from editor.judging.evaluation import GroupEvaluation


def harmonic_mean(efficacy: float, specificity: float, generality: float) -> float:
    """Return the harmonic mean of the three (MACE, Lu et al. 2024, eq. 11); 0 if any of them is 0."""
    parts = (efficacy, specificity, generality)
    return len(parts) / sum(1 / part for part in parts) if all(part > 0 for part in parts) else 0.0


def harmonic_scores(evaluations: Sequence["GroupEvaluation"], confidence: float) -> list[HarmonicScore]:
    """Return the score of each removal that has target, generality and retained prompts."""
    scores = []
    for removal in sorted({e.group.removal for e in evaluations if e.group.removal is not None}):
        own = {e.group.name: e for e in evaluations if e.group.removal == removal}
        kind = own["neighbours"].group.kind if "neighbours" in own else own["target"].group.kind
        retained = [
            e
            for e in evaluations
            if e.group.kind == kind and e.group.name in ("neighbours", "retain") and e.group.removal in (removal, None)
        ]
        kept = [hit for e in retained for hit in e.after.hits]
        if "generality" in own and kept and all(own[name].after.hits for name in ("target", "generality")):
            target, general = ([1 - hit for hit in own[name].after.hits] for name in ("target", "generality"))
            scores.append(harmonic_score(removal, target, kept, general, confidence))
    return scores


def harmonic_score(
    removal: int, target: Sequence[float], kept: Sequence[float], general: Sequence[float], confidence: float
) -> HarmonicScore:
    """Return a removal's score from a value for each prompt, with a percentile bootstrap over the prompts of each group."""
    columns = [np.asarray(values, dtype=np.float64) for values in (target, kept, general)]
    efficacy, specificity, generality = (float(column.mean()) for column in columns)
    generator = np.random.default_rng(0)
    resampled = np.stack([bootstrap_means(column, generator) for column in columns])
    with np.errstate(divide="ignore"):
        means = len(columns) / (1 / resampled).sum(0)
    low, high = percentile_interval(means, confidence)
    value = harmonic_mean(efficacy, specificity, generality)
    return HarmonicScore(
        removal=removal,
        efficacy=efficacy,
        specificity=specificity,
        generality=generality,
        harmonic=Estimate(value=value, low=low, high=high, n=sum(map(len, columns))),
    )
