"""Probing of autoencoders: how much of a concept is preserved in reconstructions and in a few latents.

These are ViSAEBench's metrics M3, M4 and M7, with linear probes that are fitted on one part of the rows and evaluated on
another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.features.linear_probe import LinearProbe, class_indices, fit_probe
from editor.features.sae.label_purity import index_labels

PROBE_SIZES = (1, 5, 10, 20, 50, 100)
"""Numbers of latents of the sparse probing curve."""
OWN_LATENTS, FEW_LATENTS = 10, 4
"""Latents per class that are compared with its siblings'; and latents of the larger of the two probes."""
PROBE_PENALTY, PROBE_TOLERANCE = 1e-3, 1e-4


@dataclass(frozen=True)
class PreservedAccuracy:
    """Accuracy of a probe on rows and on their reconstructions."""

    accuracy: float
    """On the rows."""
    rebuilt: float
    """On the reconstructions."""
    loss_recovered: float
    """(L(mean) - L(x')) / (L(mean) - L(x)) for the cross-entropy L: 1 if all is preserved, 0 if no more than by the mean."""


def preserved_accuracy(
    probe: LinearProbe, rows: Tensor, reconstructed: Tensor, labels: Sequence[str]
) -> PreservedAccuracy:
    """Evaluate a probe on ``(n, d)`` held-out rows and on their reconstructions."""

    def loss(x: Tensor) -> float:
        return float(F.cross_entropy(probe.logits(x), class_indices(labels, probe.classes)))

    mean_loss, row_loss = loss(rows.mean(0).expand_as(rows)), loss(rows)
    recovered = (mean_loss - loss(reconstructed)) / (mean_loss - row_loss)
    return PreservedAccuracy(probe.accuracy(rows, labels), probe.accuracy(reconstructed, labels), recovered)


def anova_f(values: Tensor, classes: Tensor) -> Tensor:
    """Return the ANOVA F statistic of each column: ``(n, m)`` values, ``(n,)`` class indices -> ``(m,)``.

    Columns that vary between classes but not within have F = infinity; constant columns have 0.
    """
    x, member = values.double(), F.one_hot(classes).double()
    member = member[:, member.sum(0) > 0]
    count = member.sum(0)
    means = member.T @ x / count[:, None]
    between = (count[:, None] * (means - x.mean(0)).square()).sum(0) / (len(count) - 1)
    within = (x - member @ means).square().sum(0) / (len(x) - len(count))
    return (between / within).nan_to_num(nan=0.0, posinf=torch.inf)


@dataclass(frozen=True)
class ProbingCurve:
    """Accuracy of probes by the number of latents that they use, most discriminative first."""

    accuracy: dict[int, float]
    area: float
    """Area under the curve over the logarithm of the number, relative to perfect accuracy."""


def probing_curve(
    codes: Tensor, labels: Sequence[str], train: Tensor, sizes: Sequence[int] = PROBE_SIZES
) -> ProbingCurve:
    """Rank latents by F and fit probes on the training rows; measure accuracy on the other rows.

    Args:
        codes: ``(n, latents)``; for maps, the maximum over positions.
        train: ``(n,)`` bool.
        sizes: ascending; sizes above the number of latents are skipped.
    """
    classes, _ = index_labels(labels)
    order = anova_f(codes[train], classes[train]).argsort(descending=True, stable=True)
    accuracy = {}
    for size in (size for size in sizes if size <= codes.shape[1]):
        best = codes[:, order[:size]]
        probe = fit_concept_probe(best[train], select_labels(labels, train))
        accuracy[size] = probe.accuracy(best[~train], select_labels(labels, ~train))
    return ProbingCurve(accuracy, normalized_area(accuracy))


def fit_concept_probe(rows: Tensor, labels: Sequence[str]) -> LinearProbe:
    """Fit a linear probe with the penalty that all metrics here use."""
    return fit_probe(rows, labels, PROBE_PENALTY, PROBE_TOLERANCE)


def select_labels(labels: Sequence[str], chosen: Tensor) -> list[str]:
    """Return the labels of the chosen rows."""
    return [label for label, is_chosen in zip(labels, chosen.tolist(), strict=True) if is_chosen]


def normalized_area(accuracy: Mapping[int, float]) -> float:
    """Return the trapezoidal area over log size, divided by its width; for one point, its accuracy."""
    steps = list(pairwise(accuracy.items()))
    if not steps:
        return next(iter(accuracy.values()), 0.0)
    width = sum(log(high / low) for (low, _), (high, _) in steps)
    return sum(log(high / low) * (left + right) / 2 for (low, left), (high, right) in steps) / width


@dataclass(frozen=True)
class Absorption:
    """Feature absorption of a class: does it have latents of its own, and is one of them sufficient?"""

    jaccard: float
    """Overlap of the ten most discriminative latents with those of a sibling, averaged over siblings."""
    f1_one: float
    f1_few: float
    """F1 of probes on the most discriminative latent and on the first four."""

    @property
    def gap(self) -> float:
        """F1 gained from one latent to four; large if a class is split or absorbed by another class's latent."""
        return self.f1_few - self.f1_one


def absorption(
    codes: Tensor, labels: Sequence[str], parents: Mapping[str, str], train: Tensor
) -> dict[str, Absorption]:
    """Measure absorption for every class that has siblings (classes of the same parent).

    Latents are ranked and probes fitted on the training rows.

    Args:
        codes: ``(n, latents)``.
        train: ``(n,)`` bool.
    """
    classes, names = index_labels(labels)
    order = {name: rank_latents(codes[train], classes[train] == index) for index, name in enumerate(names)}
    own = {name: set(latents[:OWN_LATENTS].tolist()) for name, latents in order.items()}
    results = {}
    for index, name in enumerate(names):
        siblings = [other for other in names if other != name and parents[other] == parents[name]]
        if siblings:
            shared = [len(own[name] & own[other]) / len(own[name] | own[other]) for other in siblings]
            f1_one, f1_few = (
                probe_f1(codes[:, order[name][:size]], classes == index, train) for size in (1, FEW_LATENTS)
            )
            results[name] = Absorption(sum(shared) / len(shared), f1_one, f1_few)
    return results


def rank_latents(codes: Tensor, positive: Tensor) -> Tensor:
    """Rank latents by F; latents that are stronger without the class come last."""
    stronger = codes[positive].mean(0) > codes[~positive].mean(0)
    return (anova_f(codes, positive.long()) * stronger.double().mul(2).sub(1)).argsort(descending=True, stable=True)


def probe_f1(values: Tensor, positive: Tensor, train: Tensor) -> float:
    """Return the test F1 of a probe with the threshold that maximizes F1 on the training rows, since classes are rare."""
    probe = fit_concept_probe(values[train], [str(label) for label in positive[train].tolist()])
    scores = probe.logits(values)[:, probe.classes.index("True")]
    threshold = best_threshold(scores[train], positive[train])
    return f1_score(scores[~train] >= threshold, positive[~train])


def best_threshold(scores: Tensor, positive: Tensor) -> Tensor:
    """Return the threshold that maximizes F1: a midpoint of neighboring scores, or the smallest score."""
    ordered, order = scores.sort(descending=True)
    hits, called = positive[order].cumsum(0), torch.arange(1, len(scores) + 1)
    cuts = torch.cat([(ordered[1:] + ordered[:-1]) / 2, ordered[-1:]])
    apart = cuts < ordered  # equal scores cannot be separated
    apart[-1] = True
    return cuts[(2 * hits / (called + int(positive.sum())) * apart).argmax()]


def f1_score(called: Tensor, positive: Tensor) -> float:
    """Return 2 hits / (called + positive), or 0 if both are empty."""
    both = int(called.sum()) + int(positive.sum())
    return 2 * int((called & positive).sum()) / both if both else 0.0
