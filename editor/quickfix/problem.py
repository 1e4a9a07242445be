"""The normal equations of one request, in orthonormal bases of the directions that matter.

A small request has fewer columns than the layer has dimensions, and its solution lies in the span of their keys and
residuals: everything is expressed in bases of those spans, where a solve takes a millisecond. A large one keeps the
layer's own dimensions and needs its columns' sums alone, so a ledger of thousands is no bigger than one of hundreds.
Either way the protected keys' directions are projected out, so no solution can move them.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from editor.errors import SolveError
from editor.quickfix.columns import Columns, Retained
from editor.quickfix.solve import Statistics, cholesky, statistics

RIDGE = 1e-6
"""Lambda relative to the mean eigenvalue of the keys' second moment, so that it means the same for every model."""


@dataclass(frozen=True)
class Problem:
    """All that the solve needs, whatever the preservation weight.

    ``dW = outputs X inputs^T``, with X the solution of the ridge regression in the two bases.
    """

    inputs: Tensor
    """(d, q), orthonormal and orthogonal to the protected keys."""
    outputs: Tensor | None
    """(o, p), orthonormal; None is the identity."""
    removal: Statistics
    """``(q, q)`` and ``(p, q)``."""
    retained: Tensor
    """Mean second moment of the retain prompts, (q, q)."""

    @cached_property
    def ridge(self) -> float:
        """Lambda in absolute units."""
        return RIDGE * float(self.removal.moment.trace()) / len(self.inputs)

    def system(self, preservation: float) -> Tensor:
        """``K A K^T + preservation C + ridge``."""
        system = self.removal.moment + preservation * self.retained
        system.diagonal().add_(self.ridge)
        return system

    def core(self, preservation: float) -> Tensor:
        """X, (p, q)."""
        return torch.cholesky_solve(self.removal.target.T, cholesky(self.system(preservation))).T


def pose(columns: Columns, retained: Retained, protected: Tensor) -> Problem:
    """From columns that are fewer than the dimensions, and the protected keys (m, d): in reduced bases."""
    keys = torch.cat([columns.keys, retained.keys])
    inputs = beyond(protected, torch.linalg.qr(torch.cat([protected, keys]).T).Q)
    outputs = torch.linalg.qr(columns.residuals.T).Q
    removal = statistics(columns.keys @ inputs, columns.residuals @ outputs, columns.weights)
    return Problem(inputs, outputs, removal, retained.within(inputs).moment)


def pose_sums(removal: Statistics, retained: Tensor, protected: Tensor) -> Problem:
    """From sums, in the layer's own dimensions less the protected keys' directions."""
    basis = beyond(protected, torch.linalg.qr(protected.T, mode="complete").Q)
    reduced = Statistics(basis.T @ removal.moment @ basis, removal.target @ basis)
    return Problem(basis, None, reduced, basis.T @ retained @ basis)


def beyond(protected: Tensor, basis: Tensor) -> Tensor:
    """The vectors of a QR basis that follow those of the protected keys: orthogonal to them all.

    Raises:
        SolveError: none is left.
    """
    if len(protected) >= len(basis):
        raise SolveError("The protected prompts leave no direction to edit.", field="options.pins", remedy="Pin fewer.")
    return basis[:, len(protected) :]
