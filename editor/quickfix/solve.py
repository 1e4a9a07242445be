"""The closed-form update (Diff-QuickFix, Basu et al. 2024, eqs. 8-9), generalised.

With keys K, column weights A, residuals R = V - W K, preserved second moment C and protected keys P, minimise

    sum_i a_i |dW k_i - r_i|^2 + tr(dW C dW^T) + ridge |dW|^2    subject to    dW P = 0 .

Writing dW = Y B^T with B an orthonormal basis of the complement of span(P) makes the constraint vanish; what is left is a
ridge regression in fewer dimensions, solved by Cholesky in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from editor.errors import SolveError

PROTECTED_TOLERANCE = 1e-6
"""Singular values of the protected keys below this share of the largest count as zero."""


@dataclass(frozen=True)
class Statistics:
    """What a removal adds to the normal equations. Additive, so removals commute."""

    moment: Tensor
    """``K A K^T``, (d, d)."""
    target: Tensor
    """``R A K^T``, (out, d)."""

    def __add__(self, other: "Statistics") -> "Statistics":
        return Statistics(self.moment + other.moment, self.target + other.target)


@dataclass(frozen=True)
class Solution:
    """The update and how well posed it was."""

    delta: Tensor
    """dW, (out, d)."""
    ridge: float
    condition: float


def statistics(keys: Tensor, residuals: Tensor, weights: Tensor) -> Statistics:
    """``keys`` (n, d), ``residuals`` (n, out), ``weights`` (n,): rows are columns of K, as torch likes them."""
    weighted = keys * weights[:, None]
    return Statistics(keys.T @ weighted, residuals.T @ weighted)


def free_basis(protected: Tensor) -> Tensor:
    """Orthonormal basis (d, free) of the complement of the rows of ``protected`` (m, d)."""
    _, values, vectors = torch.linalg.svd(protected, full_matrices=True)
    rank = int((values > PROTECTED_TOLERANCE * values[:1]).sum()) if len(values) else 0
    if rank == protected.shape[1]:
        raise SolveError("The protected prompts leave no direction to edit.", remedy="Protect fewer prompts.")
    basis: Tensor = vectors[rank:].T
    return basis


def solve(removal: Statistics, preserved: Tensor, basis: Tensor, ridge: float) -> Solution:
    """Solve the regression above.

    Args:
        removal: the summed statistics of all removals.
        preserved: C, (d, d).
        basis: B, from :func:`free_basis`.
        ridge: absolute lambda, > 0.
    """
    system = basis.T @ (removal.moment + preserved) @ basis
    system.diagonal().add_(ridge)
    factor, failed = torch.linalg.cholesky_ex(system)
    if failed:
        raise SolveError("The normal equations are not positive definite.", remedy="Raise the ridge.")
    reduced = torch.cholesky_solve((removal.target @ basis).T, factor).T
    spectrum = torch.linalg.eigvalsh(system)
    return Solution(reduced @ basis.T, ridge, float(spectrum[-1] / spectrum[0]))
