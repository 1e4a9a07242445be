"""What of a concept is still there after an autoencoder: in its reconstructions, and in few of its latents.

The measures of ViSAEBench (its M3, M4 and M7) with a linear probe as the reader, everywhere fitted on one part of the rows
and asked on another.
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
"""Latents of the sparse probing curve."""
OWN_LATENTS, FEW_LATENTS = 10, 4
"""Latents that are a class's own, for comparing with its siblings'; and latents of the larger of two probes."""
PROBE_PENALTY, PROBE_TOLERANCE = 1e-3, 1e-4


@dataclass(frozen=True)
class PreservedAccuracy:
    """How a probe of the rows reads their reconstructions."""

    accuracy: float
    """Of the rows themselves."""
    rebuilt: float
    """Of the reconstructions."""
    loss_recovered: float
    """(L(mean) - L(x')) / (L(mean) - L(x)), L the cross-entropy: 1 all of it, 0 no more than the mean row tells."""


def preserved_accuracy(probe: LinearProbe, rows: Tensor, rebuilt: Tensor, labels: Sequence[str]) -> PreservedAccuracy:
    """Of ``(n, d)`` held-out rows and their reconstructions."""

    def loss(x: Tensor) -> float:
        return float(F.cross_entropy(probe.logits(x), class_indices(labels, probe.classes)))

    nothing, own = loss(rows.mean(0).expand_as(rows)), loss(rows)
    recovered = (nothing - loss(rebuilt)) / (nothing - own)
    return PreservedAccuracy(probe.accuracy(rows, labels), probe.accuracy(rebuilt, labels), recovered)


def anova_f(values: Tensor, classes: Tensor) -> Tensor:
    """``(n, m)`` values, ``(n,)`` class numbers -> ``(m,)``: variance between classes over that within, as Fisher's F has it.

    Values that differ between classes but not within give infinity, constant ones 0.
    """
    x, own = values.double(), F.one_hot(classes).double()
    own = own[:, own.sum(0) > 0]
    count = own.sum(0)
    means = own.T @ x / count[:, None]
    between = (count[:, None] * (means - x.mean(0)).square()).sum(0) / (len(count) - 1)
    within = (x - own @ means).square().sum(0) / (len(x) - len(count))
    return (between / within).nan_to_num(nan=0.0, posinf=torch.inf)


@dataclass(frozen=True)
class ProbingCurve:
    """Accuracy of a probe by the number of latents that it may look at, the most telling first."""

    accuracy: dict[int, float]
    area: float
    """Under the curve over the logarithm of the number, as a share of what perfect accuracy would give."""


def probing_curve(
    codes: Tensor, labels: Sequence[str], train: Tensor, sizes: Sequence[int] = PROBE_SIZES
) -> ProbingCurve:
    """Latents are ranked by F, and probes fitted, on the training rows; accuracies are of the others.

    Args:
        codes: ``(n, latents)``; of maps the largest value of each over positions.
        train: ``(n,)`` bool.
        sizes: ascending; those beyond the number of latents are left out.
    """
    numbers, _ = index_labels(labels)
    order = anova_f(codes[train], numbers[train]).argsort(descending=True, stable=True)
    accuracy = {}
    for size in (size for size in sizes if size <= codes.shape[1]):
        few = codes[:, order[:size]]
        accuracy[size] = fit_concept_probe(few[train], select_labels(labels, train)).accuracy(
            few[~train], select_labels(labels, ~train)
        )
    return ProbingCurve(accuracy, normalized_area(accuracy))


def fit_concept_probe(rows: Tensor, labels: Sequence[str]) -> LinearProbe:
    """The probe of all these measures."""
    return fit_probe(rows, labels, PROBE_PENALTY, PROBE_TOLERANCE)


def select_labels(labels: Sequence[str], chosen: Tensor) -> list[str]:
    """Those of the chosen rows."""
    return [label for label, own in zip(labels, chosen.tolist(), strict=True) if own]


def normalized_area(accuracy: Mapping[int, float]) -> float:
    """By trapezia over log size, divided by the width; of one point its height."""
    steps = list(pairwise(accuracy.items()))
    if not steps:
        return next(iter(accuracy.values()), 0.0)
    width = sum(log(high / low) for (low, _), (high, _) in steps)
    return sum(log(high / low) * (one + other) / 2 for (low, one), (high, other) in steps) / width


@dataclass(frozen=True)
class Absorption:
    """Does a class have latents of its own, and is one of them enough?"""

    jaccard: float
    """Of its ten most telling latents and a sibling's, the mean over siblings: 1 the same, 0 none in common."""
    f1_one: float
    f1_few: float
    """F1 of a probe on its most telling latent, and on the first four."""

    @property
    def gap(self) -> float:
        """What one latent misses and four have: large where a class is split, or swallowed by another's latent."""
        return self.f1_few - self.f1_one


def absorption(
    codes: Tensor, labels: Sequence[str], parents: Mapping[str, str], train: Tensor
) -> dict[str, Absorption]:
    """Of every class that has siblings, classes of the same parent. Chosen and fitted on the training rows.

    Args:
        codes: ``(n, latents)``.
        train: ``(n,)`` bool.
    """
    numbers, names = index_labels(labels)
    order = {name: rank_latents(codes[train], numbers[train] == place) for place, name in enumerate(names)}
    own = {name: set(latents[:OWN_LATENTS].tolist()) for name, latents in order.items()}
    found = {}
    for place, name in enumerate(names):
        siblings = [other for other in names if other != name and parents[other] == parents[name]]
        if siblings:
            shared = [len(own[name] & own[other]) / len(own[name] | own[other]) for other in siblings]
            one, few = (probe_f1(codes[:, order[name][:size]], numbers == place, train) for size in (1, FEW_LATENTS))
            found[name] = Absorption(sum(shared) / len(shared), one, few)
    return found


def rank_latents(codes: Tensor, positive: Tensor) -> Tensor:
    """Latents by F, the most telling first; those that are stronger without the class come last."""
    stronger = codes[positive].mean(0) > codes[~positive].mean(0)
    return (anova_f(codes, positive.long()) * stronger.double().mul(2).sub(1)).argsort(descending=True, stable=True)


def probe_f1(values: Tensor, positive: Tensor, train: Tensor) -> float:
    """F1 on the other rows, of a probe whose threshold is the best of the training rows: classes are rare."""
    probe = fit_concept_probe(values[train], [str(own) for own in positive[train].tolist()])
    scores = probe.logits(values)[:, probe.classes.index("True")]
    threshold = best_threshold(scores[train], positive[train])
    return f1_score(scores[~train] >= threshold, positive[~train])


def best_threshold(scores: Tensor, positive: Tensor) -> Tensor:
    """Half-way between two neighbouring scores, or the least: there F1 is highest if rows above are called positive."""
    ordered, order = scores.sort(descending=True)
    hits, called = positive[order].cumsum(0), torch.arange(1, len(scores) + 1)
    cuts = torch.cat([(ordered[1:] + ordered[:-1]) / 2, ordered[-1:]])
    apart = cuts < ordered  # equal scores are called alike
    apart[-1] = True
    return cuts[(2 * hits / (called + int(positive.sum())) * apart).argmax()]


def f1_score(called: Tensor, positive: Tensor) -> float:
    """2 hits / (called + positive); 0 where both are none."""
    both = int(called.sum()) + int(positive.sum())
    return 2 * int((called & positive).sum()) / both if both else 0.0
