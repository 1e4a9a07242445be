"""The linear probe: multinomial logistic regression with a ridge, the yardstick of every learned feature (Alain & Bengio 2016).

It sees what is linearly there, no more, so a feature or classifier that does not beat it has found nothing of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.errors import FeatureError

MAX_ITERATIONS = 200
GRADIENT_TOLERANCE = 1e-6


@dataclass(frozen=True)
class LinearProbe:
    """Logits are ``rows @ weight.T + bias``, in float64."""

    weight: Tensor
    """``(classes, d)``"""
    bias: Tensor
    """``(classes,)``"""
    classes: tuple[str, ...]

    def logits(self, rows: Tensor) -> Tensor:
        """``(n, d)`` -> logits ``(n, classes)``."""
        return rows.double() @ self.weight.T + self.bias

    def accuracy(self, rows: Tensor, labels: Sequence[str]) -> float:
        """Share of rows whose class has the highest logit."""
        return float((self.logits(rows).argmax(1) == class_indices(labels, self.classes)).double().mean())


def class_indices(labels: Sequence[str], classes: Sequence[str]) -> Tensor:
    """``(n,)`` places of labels among the classes.

    Raises:
        FeatureError: a label is none of them.
    """
    places = {name: i for i, name in enumerate(classes)}
    if set(labels) - set(places):
        raise FeatureError(
            "There are labels of no known class.", field="labels", remedy="Train on every class that is asked for."
        )
    return torch.tensor([places[label] for label in labels])


def fit_probe(
    rows: Tensor, labels: Sequence[str], penalty: float = 1e-2, tolerance: float = GRADIENT_TOLERANCE
) -> LinearProbe:
    """Minimise mean cross-entropy + ``penalty / 2 * |W|^2`` over standardised rows, by L-BFGS in float64.

    Args:
        rows: ``(n, d)``.
        labels: n of at least two classes.
        penalty: of the weights, not of the bias.
        tolerance: of the largest entry of the gradient, where the minimiser stops.

    Raises:
        FeatureError: only one class.
    """
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise FeatureError("A probe needs at least two classes.", field="labels", remedy="Label what it is not, too.")
    x, targets = rows.double(), class_indices(labels, classes)
    mean, scale = x.mean(0), x.std(0, correction=0).clamp_min(1e-12)
    weight, bias = fit_standardized((x - mean) / scale, targets, len(classes), penalty, tolerance)
    weight = weight / scale
    return LinearProbe(weight, bias - weight @ mean, classes)


def fit_standardized(
    x: Tensor, targets: Tensor, classes: int, penalty: float, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Weights ``(classes, d)`` and biases of the minimum, which is unique up to a shift of all biases."""
    both = torch.zeros(classes, x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [both], max_iter=MAX_ITERATIONS, tolerance_grad=tolerance, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        weight = both[:, :-1]
        value = F.cross_entropy(x @ weight.T + both[:, -1], targets) + penalty / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    return both.detach()[:, :-1], both.detach()[:, -1]
