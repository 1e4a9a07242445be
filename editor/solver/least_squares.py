"""The closed-form update (Diff-QuickFix, Basu et al. 2024, eqs. 8-9), generalised.

With keys K, column weights A, residuals R = V - W K, preserved second moment C and protected keys P, minimise

    sum_i a_i |dW k_i - r_i|^2 + preservation tr(dW C dW^T) + ridge |dW|^2    subject to    dW P = 0 .

Writing dW = X B^T with B an orthonormal basis of the complement of span(P) makes the constraint vanish; what is left is a
ridge regression in fewer dimensions, solved by Cholesky in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from editor.errors import SolveError

BLOCKS = 4
"""Of the rows of a symmetric product, whose upper half is a copy."""


@dataclass(frozen=True)
class Statistics:
    """What a removal adds to the normal equations. Additive, so removals commute."""

    moment: Tensor
    """``K A K^T``, (d, d)."""
    target: Tensor
    """``R A K^T``, (out, d)."""

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(self.moment + other.moment, self.target + other.target)


def moment(keys: Tensor, weights: Tensor) -> Tensor:
    """``K A K^T`` of ``keys`` (n, d) and ``weights`` (n,): rows are columns of K, as torch likes them.

    A symmetric matrix by blocks of its lower half: five eighths of the work.
    """
    rows = keys * weights.sqrt()[:, None]
    width = rows.shape[1]
    whole = rows.new_empty(width, width)
    for block in torch.arange(width).chunk(BLOCKS):
        start, stop = int(block[0]), int(block[-1]) + 1
        torch.mm(rows[:, start:stop].T, rows[:, :stop], out=whole[start:stop, :stop])
        whole[:start, start:stop] = whole[start:stop, :start].T
    return whole


def cholesky(system: Tensor) -> Tensor:
    """Lower factor of a symmetric positive definite matrix.

    Raises:
        SolveError: it is not.
    """
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed:
        raise SolveError("The normal equations are not positive definite.", remedy="Raise the ridge.")
    return factor
