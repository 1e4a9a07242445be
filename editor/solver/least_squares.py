"""The closed-form update (Diff-QuickFix, Basu et al. 2024, eqs. 8-9), generalised.

With keys k_i of the prompts to edit, their weights a_i and residuals r_i = v_i - W k_i; keys c_j of the prompts to retain,
their weights b_j and what earlier layers' edits took from their outputs, s_j (0 at the first edited layer); and protected
keys P, minimise

    sum_i a_i |dW k_i - r_i|^2 + preservation sum_j b_j |dW c_j - s_j|^2 + ridge |dW|^2    subject to    dW P = 0 .

Writing dW = X B^T with B an orthonormal basis of the complement of span(P) satisfies the constraint by construction. The
rest is a ridge regression in fewer dimensions, solved by Cholesky in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from editor.errors import SolveError

MOMENT_BLOCKS = 4
"""Row blocks in which a symmetric product is computed; the upper half is a copy of the lower one."""


@dataclass(frozen=True)
class Statistics:
    """The contribution of a removal to the normal equations. Contributions add up, so removals commute."""

    moment: Tensor
    """``K A K^T``, (d, d)."""
    target: Tensor
    """``R A K^T``, (out, d)."""

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(self.moment + other.moment, self.target + other.target)


def second_moment(keys: Tensor, weights: Tensor) -> Tensor:
    """Return ``K A K^T``, (d, d), of ``keys`` (n, d), which are the rows of ``K^T``, and ``weights`` (n,).

    Only the blocks of the lower half are computed, five eighths of the work.
    """
    rows = keys * weights.sqrt()[:, None]
    width = rows.shape[1]
    moment = rows.new_empty(width, width)
    for block in torch.arange(width).chunk(MOMENT_BLOCKS):
        start, stop = int(block[0]), int(block[-1]) + 1
        torch.mm(rows[:, start:stop].T, rows[:, :stop], out=moment[start:stop, :stop])
        moment[:start, start:stop] = moment[start:stop, :start].T
    return moment


def cholesky(system: Tensor) -> Tensor:
    """Return the lower Cholesky factor of a symmetric positive definite matrix.

    Raises:
        SolveError: the matrix is not positive definite.
    """
    factor: Tensor
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed:
        raise SolveError("The normal equations are not positive definite.", remedy="Raise the preservation weight.")
    return factor
