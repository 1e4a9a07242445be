"""Label purity of the images that a latent responds to most: purity, entropy, and Revelio's sigma_label."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

TOP_ROWS = 10
SIGMA_MIN_ACTIVE_ROWS = 10
"""Revelio ranks only latents with more positive pre-activations than this (in rows)."""
PERMUTATIONS = 1000


@dataclass(frozen=True)
class LatentPurity:
    """Label statistics of each latent's strongest images, each ``(latents,)``."""

    purity: Tensor
    """Share of the most frequent label."""
    entropy: Tensor
    """Entropy of the labels over its maximum: 0 pure, 1 uniform."""
    label: Tensor
    """Index of the most frequent label."""
    p_value: Tensor
    """Share of random image sets of the same size that are at least as pure (with add-one correction)."""


def index_labels(labels: Sequence[str]) -> tuple[Tensor, list[str]]:
    """Return labels as class indices ``(n,)``, and the class names in alphabetical order."""
    names = sorted(set(labels))
    number = {name: index for index, name in enumerate(names)}
    return torch.tensor([number[label] for label in labels]), names


def latent_purity(activations: Tensor, labels: Tensor, top: int = TOP_ROWS, seed: int = 0) -> LatentPurity:
    """Measure label purity from ``(n, latents)`` activations and ``(n,)`` class indices.

    p-values come from a permutation test: the purity of random sets of ``top`` images.
    """
    classes = int(labels.max()) + 1
    strongest = activations.topk(min(top, len(activations)), dim=0).indices.T
    counts = class_counts(labels[strongest], classes)
    shares = counts / counts.sum(1, keepdim=True)
    largest, label = shares.max(1)
    null = random_purity(labels, classes, strongest.shape[1], seed)
    as_pure = (null[None] >= largest[:, None] - 1e-12).sum(1)
    return LatentPurity(largest, normalized_entropy(shares, classes), label, (as_pure + 1).double() / (len(null) + 1))


def random_purity(labels: Tensor, classes: int, top: int, seed: int) -> Tensor:
    """Return the purity of random sets of ``top`` images, ``(permutations,)``."""
    generator = torch.Generator().manual_seed(seed)
    samples = torch.stack([torch.randperm(len(labels), generator=generator)[:top] for _ in range(PERMUTATIONS)])
    return class_counts(labels[samples], classes).amax(1) / top


def class_counts(labels: Tensor, classes: int) -> Tensor:
    """Count the classes in each row of ``(n, m)`` labels, ``(n, classes)``."""
    return torch.zeros(len(labels), classes, dtype=torch.float64).scatter_add_(
        1, labels, torch.ones(labels.shape, dtype=torch.float64)
    )


def normalized_entropy(shares: Tensor, classes: int) -> Tensor:
    """Return the entropy of ``(n, classes)`` shares divided by log(classes)."""
    return -torch.xlogy(shares, shares).sum(1) / log(max(classes, 2))


def sigma_label(pre_activations: Tensor, labels: Tensor, count: int = 1000) -> float:
    """Return Revelio's sigma_label (its ``save_feature.py``); lower is purer.

    It takes the ``count`` latents with the largest mean positive pre-activation among those that are positive in more than
    ten rows, and averages the standard deviation of the integer labels of each latent's ten strongest rows. Use it only for
    comparison with published figures: it depends on the numbering of the classes (alphabetical neighbors look pure), and its
    scale grows with their number (C uniform classes give about sqrt((C^2 - 1) / 12)). ``latent_purity`` has neither flaw.

    Args:
        pre_activations: ``(n, latents)`` before TopK.
        labels: ``(n,)`` class indices.
    """
    active = pre_activations.relu()
    fires = (active > 0).sum(0)
    mean = active.sum(0) / fires.clamp_min(1)
    ranked = (mean * (fires > SIGMA_MIN_ACTIVE_ROWS)).argsort(descending=True, stable=True)[:count]
    strongest = active[:, ranked].topk(TOP_ROWS, dim=0).indices
    return float(labels[strongest].double().std(0).mean())
