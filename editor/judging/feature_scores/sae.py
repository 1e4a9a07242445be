"""Score an edit with a sparse autoencoder that was trained on the base model.

The residual is computed on pre-activations (see `editor.judging.feature_scores.did`), at a layer and timestep that no edit was
selected by. A linear probe is scored too, and the score is marked as untrusted if the autoencoder no longer explains the
activations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from api_schemas.feature_scores import FeatureChange, Place, Residual, SaeScore
from editor.features.linear_probe import fit_probe
from editor.features.sae import SparseAutoencoder
from editor.judging.feature_scores.did import MIN_CONTROLS, Array, ConceptScores, estimate_residual

MAX_FVU_RATIO = 1.5
"""Ratio of the fraction of variance unexplained (FVU), after to before, above which the score is not trusted."""
REPORTED_CHANGES = 20
Direction = tuple[Tensor, float]
"""A concept's weights ``(d,)`` and bias."""


@dataclass(frozen=True)
class PairedActivations:
    """Activations of both models for prompts about the removed concept and about controls, at the same seeds."""

    before: Tensor
    """``(rows, d)``"""
    after: Tensor
    prompts: Sequence[str]
    """The prompt of each row."""
    about: Sequence[str]
    """The concept of each row's prompt."""

    @property
    def names(self) -> list[str]:
        """The concepts in the order of the rows, in which the removed one comes first."""
        return list(dict.fromkeys(self.about))

    def scores(self, before: Array, after: Array) -> ConceptScores:
        """Combine score tables ``(rows, concepts)`` with the prompts and concepts of the rows."""
        _, prompts = np.unique(np.asarray(self.prompts), return_inverse=True)
        return ConceptScores(before, after, prompts, np.array([self.names.index(name) for name in self.about]))


def sae_score(
    sae: SparseAutoencoder,
    readings: PairedActivations,
    features: Mapping[str, Sequence[int]],
    removal: int,
    place: Place,
    directions: Mapping[str, Direction] | None = None,
    patches: tuple[Tensor, Tensor] | None = None,
) -> SaeScore:
    """Return the autoencoder's score of an edit.

    Args:
        features: features of each concept, chosen on the base model and on other prompts than these. Controls without
            features are left out.
        removal: index of the removal.
        place: module and timestep of the activations.
        directions: of a linear probe fitted on the base model and on other rows. Without them, probes are fitted on these
            rows before the edit, and each scores the prompts that it was not fitted on.
        patches: activations ``(n, d)`` of single positions before and after, on which FVU is computed if the autoencoder was
            trained on these and ``readings`` are their means.
    """
    with torch.no_grad():
        before, after = (sae.pre_activations(rows).double() for rows in (readings.before, readings.after))
    unexplained = [fvu(sae, rows) for rows in patches or (readings.before, readings.after)]
    own = list(features.get(readings.names[0], ()))
    trusted, why = assess_trust(*unexplained)
    return SaeScore(
        removal=removal,
        place=place,
        features=own,
        residual=residual_by_features(before, after, readings, features) if own else None,
        probe=residual_by_directions(readings, directions) if directions else residual_by_probe(readings),
        fvu_before=unexplained[0],
        fvu_after=unexplained[1],
        trusted=trusted,
        why=why,
        changed=largest_changes(before, after, readings),
    )


def assess_trust(before: float, after: float) -> tuple[bool, str]:
    """Return whether the autoencoder still explains the activations, and why, from the FVU before and after."""
    ratio = after / before
    finding = (
        f"the autoencoder leaves {after:.2f} of the variance unexplained, {ratio:.2f} times as much as before the edit"
    )
    if ratio > MAX_FVU_RATIO:
        return (
            False,
            f"Not trusted: {finding}, and the limit is {MAX_FVU_RATIO:g}. Rely on the probe and the judge.",
        )
    return True, f"Trusted: {finding}."


@torch.no_grad()
def fvu(sae: SparseAutoencoder, rows: Tensor) -> float:
    """Return the fraction of variance unexplained over rows ``(n, d)``."""
    return float((rows - sae(rows)).square().sum() / (rows - rows.mean(0)).square().sum())


def residual_by_features(
    before: Tensor, after: Tensor, readings: PairedActivations, features: Mapping[str, Sequence[int]]
) -> Residual | None:
    """Return the residual of the mean standardised pre-activation of each concept's features; None with too few controls."""
    named = [name for name in readings.names if features.get(name)]
    if len(named) <= MIN_CONTROLS:
        return None
    rows = [i for i, name in enumerate(readings.about) if name in named]
    part = PairedActivations(
        before[rows], after[rows], [readings.prompts[i] for i in rows], [readings.about[i] for i in rows]
    )
    mean, spread = control_statistics(part)
    chosen = [list(features[name]) for name in named]

    def table(side: Tensor) -> Array:
        standardised = (side - mean) / spread
        return torch.stack([standardised[:, own].mean(1) for own in chosen], dim=1).numpy()

    return estimate_residual(part.scores(table(part.before), table(part.after)), named, chosen)


def control_statistics(readings: PairedActivations) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each feature over the controls' prompts on the base model."""
    neutral = readings.before[[name != readings.names[0] for name in readings.about]]
    return neutral.mean(0), neutral.std(0, correction=0).clamp_min(1e-12)


def residual_by_directions(readings: PairedActivations, directions: Mapping[str, Direction]) -> Residual | None:
    """Return the residual of a given probe's logits."""

    def table(rows: Tensor) -> Array:
        columns = [rows.double() @ weight + bias for weight, bias in map(directions.__getitem__, readings.names)]
        return torch.stack(columns, dim=1).numpy()

    scores = readings.scores(table(readings.before), table(readings.after))
    return estimate_residual(scores, readings.names, [()] * len(readings.names))


def residual_by_probe(readings: PairedActivations) -> Residual | None:
    """Return the residual of a multinomial probe's logits; each row is scored by a probe fitted on the other prompts."""
    halves = prompt_folds(readings)
    tables = [np.zeros((len(readings.prompts), len(readings.names))) for _ in range(2)]
    for fold in (0, 1):
        fitted, scored = (np.flatnonzero(halves == side) for side in (1 - fold, fold))
        probe = fit_probe(readings.before[fitted], [readings.about[i] for i in fitted.tolist()])
        order = [probe.classes.index(name) for name in readings.names]
        for table, rows in zip(tables, (readings.before, readings.after), strict=True):
            table[scored] = probe.logits(rows[scored])[:, order].numpy()
    return estimate_residual(readings.scores(*tables), readings.names, [()] * len(readings.names))


def prompt_folds(readings: PairedActivations) -> np.ndarray:
    """Return the fold ``(rows,)``, 0 or 1, of each row: the prompts of each concept alternate."""
    place: dict[str, int] = {}
    for name in readings.names:
        own = dict.fromkeys(p for p, about in zip(readings.prompts, readings.about, strict=True) if about == name)
        place |= {prompt: number % 2 for number, prompt in enumerate(own)}
    return np.array([place[prompt] for prompt in readings.prompts])


def largest_changes(before: Tensor, after: Tensor, readings: PairedActivations) -> list[FeatureChange]:
    """Return the features that changed most on the concept's prompts, in standard deviations over the controls' prompts."""
    mean, spread = control_statistics(PairedActivations(before, after, readings.prompts, readings.about))
    mine = torch.tensor([name == readings.names[0] for name in readings.about])
    sides = [(side - mean) / spread for side in (before, after)]
    own = [side[mine].mean(0) for side in sides]
    rest = (sides[1] - sides[0])[~mine].mean(0)
    return [
        FeatureChange(feature=i, before=float(own[0][i]), after=float(own[1][i]), controls_change=float(rest[i]))
        for i in (own[1] - own[0]).abs().topk(min(REPORTED_CHANGES, len(rest))).indices.tolist()
    ]
