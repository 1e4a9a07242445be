"""What a direction in embedding space stands for: by labelled pictures, and by the nearest text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from api_schemas.report import Estimate
from editor.stats.auc import auc, delong_interval


@dataclass(frozen=True)
class Named:
    """A label, and how well a direction tells its pictures from all others."""

    kind: str
    name: str
    train: float
    """AUC on the pictures that directions are chosen by."""
    test: Estimate
    """AUC on the others, with its interval."""


@dataclass(frozen=True)
class Labelled:
    """Embeddings of pictures of which it is known what they show."""

    rows: Tensor
    """``(n, d)``."""
    labels: Mapping[str, Sequence[str]]
    """Kind -> the label of each row."""
    train: Tensor
    """``(n,)`` bool."""

    def having(self, kind: str, name: str) -> Tensor:
        """``(n,)`` bool."""
        return torch.tensor([label == name for label in self.labels[kind]])

    def names(self) -> list[tuple[str, str]]:
        """Every kind and label."""
        return [(kind, name) for kind, labels in self.labels.items() for name in sorted(set(labels))]

    def name_of(self, direction: Tensor) -> Named:
        """The label whose pictures lie furthest along ``(d,)``, chosen on the train half, measured on the other."""
        return max((self.told(direction, kind, name) for kind, name in self.names()), key=lambda told: told.train)

    def excess(self, kind: str, name: str) -> Tensor:
        """``(d,)``: the mean of a label's training pictures less that of all others."""
        rows, has = self.rows[self.train], self.having(kind, name)[self.train]
        return rows[has].mean(0) - rows[~has].mean(0)

    def told(self, direction: Tensor, kind: str, name: str) -> Named:
        """How well ``(d,)`` tells a label's pictures from all others."""
        scores, has = self.rows @ direction, self.having(kind, name)
        train = float(auc(scores[self.train, None], has[self.train])[0])
        return Named(kind, name, train, delong_interval(scores[~self.train], has[~self.train]))


def nearest_text(direction: Tensor, texts: Mapping[str, Tensor]) -> str:
    """Of texts with their ``(d,)`` embeddings, the one that points most as the direction does; "" where there are none.

    What all texts share is taken off first: next to it their differences are small.
    """
    if not texts:
        return ""
    matrix = torch.stack(list(texts.values()))
    return list(texts)[int(F.cosine_similarity(matrix - matrix.mean(0), direction[None], dim=1).argmax())]
