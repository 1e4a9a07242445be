"""The linear probe: optimality conditions, generalization, and errors."""

import numpy as np
import pytest
import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.linear_probe import fit_probe

PENALTY = 0.05


def labelled_rows(n: int, d: int = 6, classes: int = 3, spread: float = 1.0) -> tuple[Tensor, list[str]]:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.arange(n) % classes
    centres = 2 * torch.randn(classes, d, generator=generator)
    rows = centres[numbers] + spread * torch.randn(n, d, generator=generator)
    return rows, [f"class {i}" for i in numbers.tolist()]


def test_gradient_of_the_loss_is_zero() -> None:
    rows, labels = labelled_rows(60)
    probe = fit_probe(rows, labels, PENALTY)
    x = rows.double().numpy()
    z = (x - x.mean(0)) / x.std(0)
    # In standardised rows the same logits have these weights.
    weight = probe.weight.numpy() * x.std(0)
    logits = x @ probe.weight.numpy().T + probe.bias.numpy()
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.eye(3)[[probe.classes.index(label) for label in labels]]
    gradient = (chances - truth).T @ z / len(z) + PENALTY * weight
    assert np.abs(gradient).max() < 1e-5
    assert np.abs((chances - truth).mean(0)).max() < 1e-5


def test_linearly_decodable_classes_are_predicted_on_new_rows() -> None:
    rows, labels = labelled_rows(400)
    assert fit_probe(rows[:200], labels[:200]).accuracy(rows[200:], labels[200:]) > 0.9


def test_random_labels_are_not_predicted_on_new_rows() -> None:
    rows, labels = torch.randn(600, 6, generator=torch.Generator().manual_seed(1)), labelled_rows(600)[1]
    assert fit_probe(rows[:300], labels[:300]).accuracy(rows[300:], labels[300:]) < 0.45


def test_probe_does_not_depend_on_units() -> None:
    rows, labels = labelled_rows(60)
    scale, shift = torch.tensor([1e-3, 1.0, 50.0, 7.0, 1e3, 0.2]), torch.arange(6.0)
    first = fit_probe(rows, labels).logits(rows).softmax(1)
    other = fit_probe(rows * scale + shift, labels).logits(rows * scale + shift).softmax(1)
    torch.testing.assert_close(first, other, rtol=0, atol=1e-4)


def test_single_class_and_unknown_label_are_rejected() -> None:
    rows, labels = labelled_rows(30)
    with pytest.raises(FeatureError, match="two classes"):
        fit_probe(rows, ["one"] * 30)
    with pytest.raises(FeatureError, match="unknown class"):
        fit_probe(rows, labels).accuracy(rows, ["another"] * 30)
