"""How much of a concept's signal an edit leaves: difference in differences, with control concepts.

Scores s(x) are read from the same place for the same prompts and seeds before and after the edit. Let D be the mean score of
the concept's prompts minus that of the control concepts' prompts. The residual is

    R = (D_after / D_before) / g        g = the controls' median of D_after / D_before

so that neither a shift of all prompts nor a damping of all concepts counts as erasure. Scores must not compete with one
another: pre-activations and probe logits do not, codes of a k-sparse autoencoder do.
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
"""Smallest number of control concepts."""
MIN_CONTROL_DETECTION = 0.75
"""Share of resamples in which a control's contrast must be above 0 before the edit; a control that is not detected says nothing
about damping. The median over controls tolerates weak ones, so this is less than what is required of the concept itself."""
FALSE_POSITIVE_RATE = 0.05
"""Of the controls' prompts on the base model, at the detection threshold."""


@dataclass(frozen=True)
class ConceptScores:
    """Scores of rows before and after the edit, with a column for each concept: the removed one first, then the controls."""

    before: Array
    """``(rows, concepts)``"""
    after: Array
    prompts: NDArray[np.int64]
    """``(rows,)``: the prompt of each row; the rows of a prompt are resampled together."""
    row_concepts: NDArray[np.int64]
    """``(rows,)``: the column of the concept that each row's prompt is about."""

    @property
    def concept_count(self) -> int:
        """Number of concepts, the removed one included."""
        return int(self.before.shape[1])

    @cached_property
    def clusters(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The prompt cluster ``(rows,)`` of each row, and the concept ``(clusters,)`` of each cluster."""
        _, first, cluster = np.unique(self.prompts, return_index=True, return_inverse=True)
        return cluster, self.row_concepts[first]


def contrasts(scores: Array, row_concepts: NDArray[np.int64], weights: Array) -> Array:
    """Return D ``(draws, concepts)`` of every concept, for row weights ``(draws, rows)``.

    The removed concept's prompts are excluded from the reference of every concept, because they are what the edit changes.
    """
    columns = scores.shape[1]
    own = (row_concepts[:, None] == np.arange(columns)).astype(float)
    others = (1 - own) * (row_concepts[:, None] != 0)
    means = ((weights @ (scores * mask)) / (weights @ mask) for mask in (own, others))
    concept, neutral = means
    return np.asarray(concept - neutral)


def resample_weights(scores: ConceptScores, generator: np.random.Generator, draws: int) -> Array:
    """Return the row weights ``(draws, rows)`` of a cluster bootstrap, which resamples the prompts of each concept."""
    cluster, concept = scores.clusters
    times = np.zeros((draws, len(concept)))
    for one in range(scores.concept_count):
        own = np.flatnonzero(concept == one)
        times[:, own] = generator.multinomial(len(own), np.full(len(own), 1 / len(own)), draws)
    return times[:, cluster]


def contrast_ratios(scores: ConceptScores, weights: Array) -> Array:
    """Return D_after / D_before ``(draws, concepts)`` of every concept."""
    before, after = (contrasts(side, scores.row_concepts, weights) for side in (scores.before, scores.after))
    return np.asarray(after / before)


@dataclass(frozen=True)
class BootstrapFigure:
    """A figure with its bootstrap values."""

    value: float
    resampled: Array

    def estimate(self, n: int, confidence: float) -> Estimate:
        """Return the figure with its percentile interval."""
        low, high = percentile_interval(self.resampled, confidence)
        return Estimate(value=self.value, low=low, high=high, n=n)


def estimate_residual(
    scores: ConceptScores,
    names: Sequence[str],
    features: Sequence[Sequence[int]],
    confidence: float = 0.95,
    seed: int = 0,
) -> Record | None:
    """Return the residual's record; None if the concept, or too many controls, are not detected on the base model.

    Args:
        names: of the concepts, in the order of the columns.
        features: indices of the features that represent each concept.

    Raises:
        ValueError: fewer than ten controls.
    """
    if scores.concept_count <= MIN_CONTROLS:
        raise ValueError(f"{scores.concept_count - 1} controls were given; at least {MIN_CONTROLS} are needed")
    generator = np.random.default_rng(seed)
    weights, once = resample_weights(scores, generator, RESAMPLES), np.ones((1, len(scores.row_concepts)))
    start = contrasts(scores.before, scores.row_concepts, weights)
    controls = 1 + np.flatnonzero((start[:, 1:] > 0).mean(0) >= MIN_CONTROL_DETECTION)
    if np.quantile(start[:, 0], (1 - confidence) / 2) <= 0 or len(controls) < MIN_CONTROLS:
        return None
    left, resampled = contrast_ratios(scores, once)[0], contrast_ratios(scores, weights)
    chosen = controls[generator.integers(0, len(controls), (RESAMPLES, len(controls)))]
    medians = np.median(np.take_along_axis(resampled, chosen, 1), axis=1)
    damping = BootstrapFigure(float(np.median(left[controls])), medians)
    own = BootstrapFigure(float(left[0] / damping.value), resampled[:, 0] / damping.resampled)
    records = [
        ControlResidual(concept=names[i], features=list(features[i]), residual=float(left[i]))
        for i in controls.tolist()
    ]
    return make_residual_record(scores, own, damping, records, confidence)


def make_residual_record(
    scores: ConceptScores,
    own: BootstrapFigure,
    damping: BootstrapFigure,
    controls: list[ControlResidual],
    confidence: float,
) -> Record:
    """Return the record, with AUC and detection rates before and after the edit."""
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
