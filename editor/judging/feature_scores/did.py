"""How much of a concept's signal an edit leaves: difference in differences, with control concepts.

Scores s(x) of the same prompts and seeds before and after, read from the same place. With D the mean score of the concept's
prompts less that of the control concepts' prompts,

    R = (D_after / D_before) / g        g = the controls' median of D_after / D_before

so that neither what shifts all prompts nor what damps all concepts counts as erasure. Scores must not compete with one another:
pre-activations and probes' logits do, codes of a k-sparse autoencoder don't.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from api_schemas.feature_scores import ControlResidual
from api_schemas.feature_scores import Residual as Record
from api_schemas.judging import Estimate
from editor.stats.auc import auc
from editor.stats.intervals import hit_rate, percentile_interval

Array = NDArray[np.float64]
RESAMPLES = 2000
MIN_CONTROLS = 10
"""At least."""
MIN_CONTROL_DETECTION = 0.75
"""Share of draws in which a control's contrast is above 0 before the edit: one that nothing tells says nothing of damping. The
median over controls bears a weak one, so this is less than what is asked of the concept itself."""
FALSE_POSITIVE_RATE = 0.05
"""Of the controls' prompts on the base model, at the threshold of detection."""


@dataclass(frozen=True)
class ConceptScores:
    """Scores of rows, a column for each concept: the removed one first, then the controls."""

    before: Array
    """``(rows, concepts)``"""
    after: Array
    prompts: NDArray[np.int64]
    """``(rows,)``: the prompt of each row; rows of a prompt are drawn together."""
    row_concepts: NDArray[np.int64]
    """``(rows,)``: the concept, as a column, that each row's prompt is about."""

    @property
    def concept_count(self) -> int:
        """Columns."""
        return int(self.before.shape[1])

    @cached_property
    def clusters(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """``(rows,)`` cluster of each row and ``(clusters,)`` concept of each."""
        _, first, cluster = np.unique(self.prompts, return_index=True, return_inverse=True)
        return cluster, self.row_concepts[first]


def contrasts(scores: Array, row_concepts: NDArray[np.int64], weights: Array) -> Array:
    """D of every concept, ``(draws, concepts)``, with ``(draws, rows)`` weights.

    The removed concept's prompts are nobody's neutral: they are what changes.
    """
    columns = scores.shape[1]
    own = (row_concepts[:, None] == np.arange(columns)).astype(float)
    others = (1 - own) * (row_concepts[:, None] != 0)
    means = ((weights @ (scores * mask)) / (weights @ mask) for mask in (own, others))
    concept, neutral = means
    return np.asarray(concept - neutral)


def resample_weights(scores: ConceptScores, generator: np.random.Generator, draws: int) -> Array:
    """``(draws, rows)``: how often each row is drawn when each concept's prompts are, with replacement."""
    cluster, concept = scores.clusters
    times = np.zeros((draws, len(concept)))
    for one in range(scores.concept_count):
        own = np.flatnonzero(concept == one)
        times[:, own] = generator.multinomial(len(own), np.full(len(own), 1 / len(own)), draws)
    return times[:, cluster]


def contrast_ratios(scores: ConceptScores, weights: Array) -> Array:
    """D_after / D_before of every concept, ``(draws, concepts)``."""
    before, after = (contrasts(side, scores.row_concepts, weights) for side in (scores.before, scores.after))
    return np.asarray(after / before)


@dataclass(frozen=True)
class BootstrapFigure:
    """A figure and its resampled values."""

    value: float
    resampled: Array

    def estimate(self, n: int, confidence: float) -> Estimate:
        """With its percentile interval."""
        low, high = percentile_interval(self.resampled, confidence)
        return Estimate(value=self.value, low=low, high=high, n=n)


def estimate_residual(
    scores: ConceptScores,
    names: Sequence[str],
    features: Sequence[Sequence[int]],
    confidence: float = 0.95,
    seed: int = 0,
) -> Record | None:
    """The record; None where nothing can be said: on the base model, the concept or too many controls don't stand out.

    Args:
        names: of the concepts, as the columns.
        features: what stands for each.

    Raises:
        ValueError: fewer than ten controls.
    """
    if scores.concept_count <= MIN_CONTROLS:
        raise ValueError(f"{scores.concept_count - 1} controls; at least {MIN_CONTROLS} are needed")
    generator = np.random.default_rng(seed)
    weights, once = resample_weights(scores, generator, RESAMPLES), np.ones((1, len(scores.row_concepts)))
    start = contrasts(scores.before, scores.row_concepts, weights)
    controls = 1 + np.flatnonzero((start[:, 1:] > 0).mean(0) >= MIN_CONTROL_DETECTION)
    if np.quantile(start[:, 0], (1 - confidence) / 2) <= 0 or len(controls) < MIN_CONTROLS:
        return None
    left, drawn = contrast_ratios(scores, once)[0], contrast_ratios(scores, weights)
    chosen = controls[generator.integers(0, len(controls), (RESAMPLES, len(controls)))]
    damping = BootstrapFigure(float(np.median(left[controls])), np.median(np.take_along_axis(drawn, chosen, 1), axis=1))
    own = BootstrapFigure(float(left[0] / damping.value), drawn[:, 0] / damping.resampled)
    kept = [
        ControlResidual(concept=names[i], features=list(features[i]), residual=float(left[i]))
        for i in controls.tolist()
    ]
    return make_residual_record(scores, own, damping, kept, confidence)


def make_residual_record(
    scores: ConceptScores,
    own: BootstrapFigure,
    damping: BootstrapFigure,
    controls: list[ControlResidual],
    confidence: float,
) -> Record:
    """With what says the same more plainly: AUC and detection before and after."""
    mine, neutral = scores.row_concepts == 0, scores.row_concepts != 0
    prompts = len(np.unique(scores.prompts[mine]))
    spread = float(scores.before[neutral, 0].std())
    threshold = np.quantile(scores.before[neutral, 0], 1 - FALSE_POSITIVE_RATE)
    once = np.ones((1, len(scores.row_concepts)))
    sides = (scores.before, scores.after)
    before, after = (float(contrasts(side, scores.row_concepts, once)[0, 0]) / spread for side in sides)
    areas = [float(auc(torch.from_numpy(side[:, :1]), torch.from_numpy(mine))) for side in sides]
    found = [hit_rate((side[mine, 0] > threshold).tolist()) for side in sides]
    return Record(
        estimate=own.estimate(prompts, confidence),
        damping=damping.estimate(len(controls), confidence),
        contrast_before=before,
        contrast_after=after,
        auc_before=areas[0],
        auc_after=areas[1],
        detected_before=found[0],
        detected_after=found[1],
        controls=controls,
    )
