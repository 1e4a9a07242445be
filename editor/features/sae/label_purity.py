"""What the images that a latent responds to most have in common: purity, entropy, and Revelio's sigma."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

TOP_ROWS = 10
SIGMA_MIN_ACTIVE_ROWS = 10
"""Revelio ranks only latents with more positive pre-activations than this."""
PERMUTATIONS = 1000


@dataclass(frozen=True)
class LatentPurity:
    """For each latent, from its strongest images. All are ``(latents,)``."""

    purity: Tensor
    """Largest share of one label."""
    entropy: Tensor
    """Of the labels, divided by its largest possible value: 0 pure, 1 evenly mixed."""
    label: Tensor
    """The most frequent label."""
    p_value: Tensor
    """Share of random sets of as many images that are as pure or purer (add-one)."""


def index_labels(labels: Sequence[str]) -> tuple[Tensor, list[str]]:
    """Labels as numbers, and the names in alphabetic order."""
    names = sorted(set(labels))
    number = {name: index for index, name in enumerate(names)}
    return torch.tensor([number[label] for label in labels]), names


def latent_purity(activations: Tensor, labels: Tensor, top: int = TOP_ROWS, seed: int = 0) -> LatentPurity:
    """Of ``(n, latents)`` activations and ``(n,)`` labels; the null is what random labels would give."""
    classes = int(labels.max()) + 1
    strongest = activations.topk(min(top, len(activations)), dim=0).indices.T
    counts = class_counts(labels[strongest], classes)
    shares = counts / counts.sum(1, keepdim=True)
    found, label = shares.max(1)
    null = random_purity(labels, classes, strongest.shape[1], seed)
    as_pure = (null[None] >= found[:, None] - 1e-12).sum(1)
    return LatentPurity(found, normalized_entropy(shares, classes), label, (as_pure + 1).double() / (len(null) + 1))


def random_purity(labels: Tensor, classes: int, top: int, seed: int) -> Tensor:
    """``(permutations,)``: purity of random images."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(len(labels), generator=generator)[:top] for _ in range(PERMUTATIONS)])
    return class_counts(labels[drawn], classes).amax(1) / top


def class_counts(labels: Tensor, classes: int) -> Tensor:
    """``(n, m)`` labels -> ``(n, classes)``."""
    return torch.zeros(len(labels), classes, dtype=torch.float64).scatter_add_(
        1, labels, torch.ones(labels.shape, dtype=torch.float64)
    )


def normalized_entropy(shares: Tensor, classes: int) -> Tensor:
    """Of ``(n, classes)`` shares, over log(classes)."""
    return -torch.xlogy(shares, shares).sum(1) / log(max(classes, 2))


def sigma_label(pre_activations: Tensor, labels: Tensor, count: int = 1000) -> float:
    """Revelio's sigma_label (its ``save_feature.py``): lower is purer.

    The ``count`` latents of the largest mean positive pre-activation, among those that are positive in more than ten rows;
    of each the standard deviation of the integer labels of its ten strongest rows; their mean. It is kept for comparison
    with published figures alone, for it depends on the numbering of the classes: alphabetic neighbours look pure, and the scale
    grows with their number (C evenly drawn classes give about sqrt((C^2 - 1) / 12)). ``purity`` has neither fault.

    Args:
        pre_activations: ``(n, latents)`` before TopK.
        labels: ``(n,)`` integers.
    """
    active = pre_activations.relu()
    fires = (active > 0).sum(0)
    mean = active.sum(0) / fires.clamp_min(1)
    ranked = (mean * (fires > SIGMA_MIN_ACTIVE_ROWS)).argsort(descending=True, stable=True)[:count]
    strongest = active[:, ranked].topk(TOP_ROWS, dim=0).indices
    return float(labels[strongest].double().std(0).mean())
