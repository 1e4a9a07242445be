"""Label a direction in embedding space, by labelled images or by the nearest text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.report import Estimate
from editor.stats.auc import auc, delong_interval


@dataclass(frozen=True)
class DirectionLabel:
    """A label, and how well projection on a direction separates its images from all others."""

    kind: str
    name: str
    train_auc: float
    """AUC on the training images, which labels are chosen on."""
    test_auc: Estimate
    """AUC on the test images, with its confidence interval."""


@dataclass(frozen=True)
class LabelledEmbeddings:
    """Image embeddings with labels, split into training and test images."""

    rows: Tensor
    """``(n, d)``."""
    labels: Mapping[str, Sequence[str]]
    """Kind -> one label per row."""
    train: Tensor
    """``(n,)`` bool."""

    def has_label(self, kind: str, name: str) -> Tensor:
        """Return whether each row has the label, ``(n,)`` bool."""
        return torch.tensor([label == name for label in self.labels[kind]])

    def all_labels(self) -> list[tuple[str, str]]:
        """List every (kind, label)."""
        return [(kind, name) for kind, labels in self.labels.items() for name in sorted(set(labels))]

    def best_label(self, direction: Tensor) -> DirectionLabel:
        """Return the label that a ``(d,)`` direction separates best, chosen on the training images."""
        return max(
            (self.score_label(direction, kind, name) for kind, name in self.all_labels()),
            key=lambda label: label.train_auc,
        )

    def mean_difference(self, kind: str, name: str) -> Tensor:
        """Return the mean of the label's training images minus the mean of the others, ``(d,)``."""
        rows, has = self.rows[self.train], self.has_label(kind, name)[self.train]
        return rows[has].mean(0) - rows[~has].mean(0)

    def score_label(self, direction: Tensor, kind: str, name: str) -> DirectionLabel:
        """Measure how well a ``(d,)`` direction separates a label's images from all others."""
        scores, has = self.rows @ direction, self.has_label(kind, name)
        train = float(auc(scores[self.train, None], has[self.train])[0])
        return DirectionLabel(kind, name, train, delong_interval(scores[~self.train], has[~self.train]))


def nearest_text(direction: Tensor, texts: Mapping[str, Tensor]) -> str:
    """Return the text whose ``(d,)`` embedding has the largest cosine to the direction, or "" without texts.

    The mean of the texts is subtracted first, since it is much larger than their differences.
    """
    if not texts:
        return ""
    matrix = torch.stack(list(texts.values()))
    return list(texts)[int(F.cosine_similarity(matrix - matrix.mean(0), direction[None], dim=1).argmax())]
