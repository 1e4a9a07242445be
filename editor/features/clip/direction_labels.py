"""What a direction in embedding space stands for: by labelled pictures, and by the nearest text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.report import Estimate
from editor.stats.auc import auc, delong_interval


@dataclass(frozen=True)
class DirectionLabel:
    """A label, and how well a direction tells its pictures from all others."""

    kind: str
    name: str
    train_auc: float
    """AUC on the pictures that directions are chosen by."""
    test_auc: Estimate
    """AUC on the others, with its interval."""


@dataclass(frozen=True)
class LabelledEmbeddings:
    """Embeddings of pictures of which it is known what they show."""

    rows: Tensor
    """``(n, d)``."""
    labels: Mapping[str, Sequence[str]]
    """Kind -> the label of each row."""
    train: Tensor
    """``(n,)`` bool."""

    def has_label(self, kind: str, name: str) -> Tensor:
        """``(n,)`` bool."""
        return torch.tensor([label == name for label in self.labels[kind]])

    def all_labels(self) -> list[tuple[str, str]]:
        """Every kind and label."""
        return [(kind, name) for kind, labels in self.labels.items() for name in sorted(set(labels))]

    def best_label(self, direction: Tensor) -> DirectionLabel:
        """The label whose pictures lie furthest along ``(d,)``, chosen on the train half, measured on the other."""
        return max(
            (self.score_label(direction, kind, name) for kind, name in self.all_labels()),
            key=lambda told: told.train_auc,
        )

    def mean_difference(self, kind: str, name: str) -> Tensor:
        """``(d,)``: the mean of a label's training pictures less that of all others."""
        rows, has = self.rows[self.train], self.has_label(kind, name)[self.train]
        return rows[has].mean(0) - rows[~has].mean(0)

    def score_label(self, direction: Tensor, kind: str, name: str) -> DirectionLabel:
        """How well ``(d,)`` tells a label's pictures from all others."""
        scores, has = self.rows @ direction, self.has_label(kind, name)
        train = float(auc(scores[self.train, None], has[self.train])[0])
        return DirectionLabel(kind, name, train, delong_interval(scores[~self.train], has[~self.train]))


def nearest_text(direction: Tensor, texts: Mapping[str, Tensor]) -> str:
    """Of texts with their ``(d,)`` embeddings, the one that points most as the direction does; "" where there are none.

    What all texts share is taken off first: next to it their differences are small.
    """
    if not texts:
        return ""
    matrix = torch.stack(list(texts.values()))
    return list(texts)[int(F.cosine_similarity(matrix - matrix.mean(0), direction[None], dim=1).argmax())]
