"""Features that point alike, put together: weighted spherical k-means, with as many groups as weigh enough.

Daujotas (2024): unit directions, weighted by activation, are clustered for a range of k; of those, the largest k is taken
whose clusters all hold a threshold of activation. The threshold is a share of the image's total here, so that it means the
same whatever the activations' scale.
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
"""A sum of shares may miss the threshold by this."""


@dataclass(frozen=True)
class Grouping:
    """Clusters of the rows of a matrix of directions, heaviest first."""

    members: tuple[tuple[int, ...], ...]
    """Rows of each cluster, heaviest first."""
    masses: tuple[float, ...]
    """Share of the total activation that each holds; they sum to 1."""

    def __len__(self) -> int:
        return len(self.members)


def group_directions(
    directions: Tensor,
    activations: Tensor,
    threshold: float = MIN_GROUP_SHARE,
    max_groups: int = MAX_GROUPS,
    seed: int = 0,
) -> Grouping:
    """Group features by direction.

    Args:
        directions: ``(m, d)``, of any length but zero.
        activations: ``(m,)``, positive: the weights.
        threshold: the least share of the total activation that a group may hold, in (0, 1].
        largest: no more groups than this.

    Raises:
        FeatureError: no features, a weight or a direction is zero or not finite, or the threshold isn't a share.
    """
    units, weights = normalize_inputs(directions, activations, threshold)
    options = [
        sort_clusters(labels, weights)
        for k in range(1, min(max_groups, len(weights)) + 1)
        for labels in [spherical_k_means(units, weights, k, seed)]
    ]
    fitting = (option for option in options if min(option.masses) >= threshold - SHARE_TOLERANCE)
    return max(fitting, key=len)  # one group alone holds everything


def normalize_inputs(directions: Tensor, activations: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Unit directions and weights that sum to 1, in float64."""
    lengths, weights = directions.double().norm(dim=1), activations.double()
    usable = len(weights) > 0 and bool((lengths > 0).all() & (weights > 0).all())
    if not usable or not bool((lengths + weights).isfinite().all()):
        raise FeatureError(
            "These features can't be grouped: some have no direction or no activation.",
            remedy="Give the active features of an image, at least one.",
        )
    if not 0 < threshold <= 1:
        raise FeatureError(
            f"A group can't hold {threshold:g} of the activation.",
            field="threshold",
            remedy="Give a share, such as 0.05.",
        )
    return F.normalize(directions.double()), weights / weights.sum()


def sort_clusters(labels: Tensor, weights: Tensor) -> Grouping:
    """Clusters by mass, members by weight; ties by row."""
    clusters = [torch.nonzero(labels == label).flatten() for label in labels.unique().tolist()]  # type: ignore[no-untyped-call]
    sorted_clusters = [rows[weights[rows].argsort(descending=True, stable=True)] for rows in clusters]
    heaviest = sorted(sorted_clusters, key=lambda rows: (-float(weights[rows].sum()), rows.min()))
    return Grouping(
        tuple(tuple(rows.tolist()) for rows in heaviest), tuple(float(weights[rows].sum()) for rows in heaviest)
    )


def spherical_k_means(units: Tensor, weights: Tensor, k: int, seed: int, restarts: int = RESTARTS) -> Tensor:
    """``(m,)`` labels of the best of several runs, each from centres drawn apart (k-means++; Arthur & Vassilvitskii 2007).

    Maximises the weighted sum of cosines to the own cluster's centre (Dhillon & Modha 2001), which is the sum over clusters
    of the length of their weighted resultant.
    """
    generator = torch.Generator().manual_seed(seed)
    runs = [lloyd(units, weights, kmeans_plusplus(units, weights, k, generator)) for _ in range(restarts)]
    return max(runs, key=lambda labels: coherence(units, weights, labels))


def coherence(units: Tensor, weights: Tensor, labels: Tensor) -> float:
    """The objective of spherical k-means."""
    return float(cluster_sums(units, weights, labels).norm(dim=1).sum())


def cluster_sums(units: Tensor, weights: Tensor, labels: Tensor) -> Tensor:
    """``(k, d)``: the weighted sum of each cluster."""
    k = int(labels.max()) + 1
    return torch.zeros(k, units.shape[1], dtype=units.dtype).index_add_(0, labels, weights[:, None] * units)


def kmeans_plusplus(units: Tensor, weights: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """``(k, d)`` centres among the rows, each drawn by weight times distance from the nearest drawn before."""
    chosen = [int(torch.multinomial(weights, 1, generator=generator))]
    while len(chosen) < k:
        distance = (1 - (units @ units[chosen].T).amax(1)).clamp(min=0)
        distance[chosen] = 0
        chances = weights * distance
        if not bool(chances.any()):  # the rest repeat what is chosen
            chances = weights.scatter(0, torch.tensor(chosen), 0.0)
        chosen.append(int(torch.multinomial(chances, 1, generator=generator)))
    return units[chosen]


def lloyd(units: Tensor, weights: Tensor, centres: Tensor) -> Tensor:
    """Assign rows and move centres until nothing moves; a cluster that loses all its rows is gone."""
    labels = (units @ centres.T).argmax(1)
    for _ in range(MAX_ITERATIONS):
        _, labels = labels.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        centres = F.normalize(cluster_sums(units, weights, labels))
        moved = (units @ centres.T).argmax(1)
        if torch.equal(moved, labels):
            break
        labels = moved
    return labels
