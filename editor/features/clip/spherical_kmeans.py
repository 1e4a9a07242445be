"""Group features with similar directions by weighted spherical k-means.

As in Daujotas (2024), unit directions are clustered, weighted by activation, for every k; the result is the largest k for
which every cluster has at least a threshold of the activation. Here the threshold is a share of the image's total
activation, so that it does not depend on the scale.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.errors import FeatureError

MAX_GROUPS = 20
MIN_GROUP_SHARE = 0.05
RESTARTS = 10
MAX_ITERATIONS = 100
SHARE_TOLERANCE = 1e-9
"""Rounding tolerance when a sum of shares is compared with the threshold."""


@dataclass(frozen=True)
class Grouping:
    """Clusters of the rows of a matrix of directions, largest mass first."""

    members: tuple[tuple[int, ...], ...]
    """Row indices of each cluster, largest weight first."""
    masses: tuple[float, ...]
    """Share of the total activation in each cluster; they sum to 1."""

    def __len__(self) -> int:
        return len(self.members)


def group_directions(
    directions: Tensor,
    activations: Tensor,
    threshold: float = MIN_GROUP_SHARE,
    max_groups: int = MAX_GROUPS,
    seed: int = 0,
) -> Grouping:
    """Group features by direction, into as many groups as the threshold allows.

    Args:
        directions: ``(m, d)``, of any nonzero length.
        activations: ``(m,)``, positive; the weights.
        threshold: minimum share of the total activation per group, in (0, 1].
        largest: no more groups than this.

    Raises:
        FeatureError: there are no features, a weight or direction is zero or not finite, or the threshold is not in (0, 1].
    """
    units, weights = normalize_inputs(directions, activations, threshold)
    options = [
        sort_clusters(labels, weights)
        for k in range(1, min(max_groups, len(weights)) + 1)
        for labels in [spherical_k_means(units, weights, k, seed)]
    ]
    valid = (option for option in options if min(option.masses) >= threshold - SHARE_TOLERANCE)
    return max(valid, key=len)  # never empty: for k = 1 the only mass is 1


def normalize_inputs(directions: Tensor, activations: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return unit directions, and weights that sum to 1, in float64."""
    lengths, weights = directions.double().norm(dim=1), activations.double()
    usable = len(weights) > 0 and bool((lengths > 0).all() & (weights > 0).all())
    if not usable or not bool((lengths + weights).isfinite().all()):
        raise FeatureError(
            "The features cannot be grouped: there are none, or one has a zero direction or activation.",
            remedy="Pass the active features of an image, at least one.",
        )
    if not 0 < threshold <= 1:
        raise FeatureError(
            f"The threshold {threshold:g} is not a share of the activation.",
            field="threshold",
            remedy="Use a value in (0, 1], such as 0.05.",
        )
    return F.normalize(directions.double()), weights / weights.sum()


def sort_clusters(labels: Tensor, weights: Tensor) -> Grouping:
    """Sort clusters by mass and members by weight; ties by row index."""
    clusters = [torch.nonzero(labels == label).flatten() for label in labels.unique().tolist()]  # type: ignore[no-untyped-call]
    sorted_clusters = [rows[weights[rows].argsort(descending=True, stable=True)] for rows in clusters]
    by_mass = sorted(sorted_clusters, key=lambda rows: (-float(weights[rows].sum()), rows.min()))
    return Grouping(
        tuple(tuple(rows.tolist()) for rows in by_mass), tuple(float(weights[rows].sum()) for rows in by_mass)
    )


def spherical_k_means(units: Tensor, weights: Tensor, k: int, seed: int, restarts: int = RESTARTS) -> Tensor:
    """Return the ``(m,)`` cluster labels of the best of several runs.

    The objective is the weighted sum of cosines to the centers (Dhillon & Modha 2001), which equals the sum over clusters
    of the length of their weighted sum.
    """
    generator = torch.Generator().manual_seed(seed)
    runs = [lloyd(units, weights, kmeans_plusplus(units, weights, k, generator)) for _ in range(restarts)]
    return max(runs, key=lambda labels: coherence(units, weights, labels))


def coherence(units: Tensor, weights: Tensor, labels: Tensor) -> float:
    """Return the objective of spherical k-means."""
    return float(cluster_sums(units, weights, labels).norm(dim=1).sum())


def cluster_sums(units: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """Return the weighted sum of each cluster, ``(k, d)``."""
    k = int(labels.max()) + 1
    return torch.zeros(k, units.shape[1], dtype=units.dtype).index_add_(0, labels, weights[:, None] * units)


def kmeans_plusplus(units: Tensor, weights: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return ``(k, d)`` initial centers by k-means++ (Arthur & Vassilvitskii 2007).

    Centers are sampled from the rows with probability proportional to weight times distance to the nearest chosen center.
    """
    chosen = [int(torch.multinomial(weights, 1, generator=generator))]
    while len(chosen) < k:
        distance = (1 - (units @ units[chosen].T).amax(1)).clamp(min=0)
        distance[chosen] = 0
        chances = weights * distance
        if not bool(chances.any()):  # all remaining rows coincide with a center
            chances = weights.scatter(0, torch.tensor(chosen), 0.0)
        chosen.append(int(torch.multinomial(chances, 1, generator=generator)))
    return units[chosen]


def lloyd(units: Tensor, weights: Tensor, centres: Tensor) -> Tensor:
    """Alternate assignment and center updates until convergence; a cluster that becomes empty is dropped."""
    labels = (units @ centres.T).argmax(1)
    for _ in range(MAX_ITERATIONS):
        _, labels = labels.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        centres = F.normalize(cluster_sums(units, weights, labels))
        moved = (units @ centres.T).argmax(1)
        if torch.equal(moved, labels):
            break
        labels = moved
    return labels
