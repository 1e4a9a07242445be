"""Linear probe: multinomial logistic regression with an L2 penalty (Alain & Bengio 2016).

It is the baseline of every learned feature and classifier here: it finds only what is linearly decodable.
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
    """A fitted probe. Logits are ``rows @ weight.T + bias``, in float64."""

    weight: Tensor
    """``(classes, d)``"""
    bias: Tensor
    """``(classes,)``"""
    classes: tuple[str, ...]

    def logits(self, rows: Tensor) -> Tensor:
        """Return the logits ``(n, classes)`` of ``(n, d)`` rows."""
        return rows.double() @ self.weight.T + self.bias

    def accuracy(self, rows: Tensor, labels: Sequence[str]) -> float:
        """Return the share of rows whose class has the highest logit."""
        return float((self.logits(rows).argmax(1) == class_indices(labels, self.classes)).double().mean())


def class_indices(labels: Sequence[str], classes: Sequence[str]) -> Tensor:
    """Return the ``(n,)`` class indices of labels.

    Raises:
        FeatureError: a label is not one of the classes.
    """
    index = {name: i for i, name in enumerate(classes)}
    if set(labels) - set(index):
        raise FeatureError(
            "Some labels are of an unknown class.", field="labels", remedy="Train on every class that is evaluated."
        )
    return torch.tensor([index[label] for label in labels])


def fit_probe(
    rows: Tensor, labels: Sequence[str], penalty: float = 1e-2, tolerance: float = GRADIENT_TOLERANCE
) -> LinearProbe:
    """Fit a probe: minimize mean cross-entropy + ``penalty / 2 * |W|^2`` over standardized rows, by L-BFGS in float64.

    Args:
        rows: ``(n, d)``.
        labels: n labels of at least two classes.
        penalty: L2 penalty of the weights; the bias is not penalized.
        tolerance: stop when the largest entry of the gradient is below this.

    Raises:
        FeatureError: all labels are equal.
    """
    classes = tuple(sorted(set(labels)))
    if len(classes) < 2:
        raise FeatureError(
            "A probe needs at least two classes.",
            field="labels",
            remedy="Add rows without the concept, and label them.",
        )
    x, targets = rows.double(), class_indices(labels, classes)
    mean, scale = x.mean(0), x.std(0, correction=0).clamp_min(1e-12)
    weight, bias = fit_standardized((x - mean) / scale, targets, len(classes), penalty, tolerance)
    weight = weight / scale
    return LinearProbe(weight, bias - weight @ mean, classes)


def fit_standardized(
    x: Tensor, targets: Tensor, classes: int, penalty: float, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Return weights ``(classes, d)`` and biases at the minimum, which is unique up to a shift of all biases."""
    parameters = torch.zeros(classes, x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS(
        [parameters], max_iter=MAX_ITERATIONS, tolerance_grad=tolerance, history_size=20, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        solver.zero_grad()
        weight = parameters[:, :-1]
        value = F.cross_entropy(x @ weight.T + parameters[:, -1], targets) + penalty / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        solver.step(loss)  # type: ignore[no-untyped-call]
    return parameters.detach()[:, :-1], parameters.detach()[:, -1]
