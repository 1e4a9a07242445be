"""The normal equations of one request, in the smallest coordinates that contain the solution.

A small request has fewer rows than the layer has dimensions, and its solution is in the span of their keys and residuals:
everything is expressed in bases of those spans, where a solve takes a millisecond. A large request keeps the layer's own
dimensions and needs only the sums over its rows, so a ledger of thousands of removals is no bigger than one of hundreds.
Either way the protected keys are projected out, so that no solution can change their outputs.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from editor.solver.least_squares import Statistics, cholesky
from editor.solver.low_rank_update import low_rank_factors
from editor.solver.regression import RegressionRows, RetainedKeys
from editor.solver.subspaces import OrthogonalComplement, Subspace, basis_of_keys

RELATIVE_RIDGE = 1e-6
"""Lambda relative to the mean eigenvalue of the keys' second moment, so that it means the same for every model."""


@dataclass(frozen=True)
class NormalEquations:
    """Everything that a solve needs except the preservation weight.

    The solution X of the ridge regression is in reduced coordinates: ``dW = output_basis X``, lifted from the subspace.
    """

    subspace: Subspace
    """The input directions that the update may act on."""
    output_basis: Tensor | None
    """(o, p), orthonormal; None is the identity."""
    removal: Statistics
    """``(q, q)`` and ``(p, q)``."""
    retain_moment: Tensor
    """Mean second moment of the retain prompts, (q, q)."""
    retain_target: Tensor | None
    """What is to be restored of them, (p, q); None leaves them as they are."""
    width: int
    """Input dimensions of the layer, d."""
    relative_ridge: float = RELATIVE_RIDGE
    """Lambda relative to the mean eigenvalue of the keys' second moment."""

    @classmethod
    def from_rows(
        cls, rows: RegressionRows, retained: RetainedKeys, unprotected: OrthogonalComplement
    ) -> "NormalEquations":
        """Build reduced equations from rows that are fewer than the layer's dimensions."""
        subspace, coordinates = basis_of_keys(unprotected, torch.cat([rows.keys, retained.keys]))
        removal_keys, retain_keys = coordinates[: len(rows.keys)], coordinates[len(rows.keys) :]
        outputs = rows.residuals if retained.residuals is None else torch.cat([rows.residuals, retained.residuals])
        output_basis = torch.linalg.qr(outputs.T).Q
        removal = replace(rows, keys=removal_keys, residuals=rows.residuals @ output_basis).statistics()
        retain = retained.in_bases(retain_keys, output_basis)
        return cls(subspace, output_basis, removal, retain.moment, retain.target, rows.keys.shape[1])

    @classmethod
    def from_statistics(
        cls,
        removal: Statistics,
        retain_moment: Tensor,
        unprotected: OrthogonalComplement,
        retain_target: Tensor | None = None,
    ) -> "NormalEquations":
        """Build equations in the layer's own dimensions from accumulated statistics."""
        projected = Statistics(unprotected.project_moment(removal.moment), unprotected.project(removal.target))
        moment, width = unprotected.project_moment(retain_moment), len(retain_moment)
        target = None if retain_target is None else unprotected.project(retain_target)
        return cls(unprotected, None, projected, moment, target, width)

    @cached_property
    def ridge(self) -> float:
        """Lambda in absolute units."""
        return self.relative_ridge * float(self.removal.moment.trace()) / self.width

    def system(self, preservation: float) -> Tensor:
        """Return ``K A K^T + preservation C + ridge``, (q, q)."""
        system = self.removal.moment + preservation * self.retain_moment
        system.diagonal().add_(self.ridge)
        return system

    def target(self, preservation: float) -> Tensor:
        """Return ``R A K^T + preservation T``, (p, q)."""
        own, restored = self.removal.target, self.retain_target
        return own if restored is None else own + preservation * restored

    def solve(self, preservation: float, dtype: torch.dtype = torch.float64) -> Tensor:
        """Return X, (p, q). A forecast may solve in float32; the factor is always computed in float64."""
        factor = cholesky(self.system(preservation)).to(dtype)
        # cholesky_solve wants columns; solving for rows as they are in memory takes half the time.
        half = torch.linalg.solve_triangular(factor.T, self.target(preservation).to(dtype), upper=True, left=False)
        solution: Tensor = torch.linalg.solve_triangular(factor, half, upper=False, left=False)
        return solution

    def solve_low_rank(self, preservation: float, tolerance: float) -> tuple[Tensor, Tensor]:
        """Return factors of X that change the objective least for their rank (reduced-rank regression).

        With the system ``L L^T`` and its solution ``X = T L^-T L^-1``, what is cut from ``T L^-T`` is measured on the
        keys, where what is cut from X would count directions that no key has.

        Args:
            preservation: the preservation weight.
            tolerance: relative Frobenius norm that may be left out.
        """
        factor = cholesky(self.system(preservation))
        half = torch.linalg.solve_triangular(factor.T, self.target(preservation), upper=True, left=False)
        up, down = low_rank_factors(half, tolerance)
        return up, torch.linalg.solve_triangular(factor, down, upper=False, left=False)

    def to_weight_space(self, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        """Map factors of X to factors of dW."""
        return up if self.output_basis is None else self.output_basis @ up, self.subspace.lift(down)
