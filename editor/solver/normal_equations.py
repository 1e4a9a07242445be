"""The normal equations of one request, in coordinates where they are small.

A small request has fewer columns than the layer has dimensions, and its solution lies in the span of their keys and
residuals: everything is expressed in bases of those spans, where a solve takes a millisecond. A large one keeps the
layer's own dimensions and needs its columns' sums alone, so a ledger of thousands is no bigger than one of hundreds.
Either way the protected keys' directions are projected out, so no solution can move them.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from editor.solver.least_squares import Statistics, cholesky
from editor.solver.regression import Columns, Retained
from editor.solver.subspaces import Beyond, Directions, spanned

RIDGE = 1e-6
"""Lambda relative to the mean eigenvalue of the keys' second moment, so that it means the same for every model."""


@dataclass(frozen=True)
class Problem:
    """All that the solve needs, whatever the preservation weight.

    With X the solution of the ridge regression in the two coordinates, ``dW = outputs X`` lifted from the directions.
    """

    directions: Directions
    outputs: Tensor | None
    """(o, p), orthonormal; None is the identity."""
    removal: Statistics
    """``(q, q)`` and ``(p, q)``."""
    retained: Tensor
    """Mean second moment of the retain prompts, (q, q)."""
    width: int
    """Dimensions of the layer, d."""

    @cached_property
    def ridge(self) -> float:
        """Lambda in absolute units."""
        return RIDGE * float(self.removal.moment.trace()) / self.width

    def system(self, preservation: float) -> Tensor:
        """``K A K^T + preservation C + ridge``."""
        system = self.removal.moment + preservation * self.retained
        system.diagonal().add_(self.ridge)
        return system

    def core(self, preservation: float, dtype: torch.dtype = torch.float64) -> Tensor:
        """X, (p, q); a forecast is content with solving by the exact factor in float32."""
        factor = cholesky(self.system(preservation)).to(dtype)
        # Rows times an inverse, as they lie in memory: half of the time of cholesky_solve, which wants columns.
        half = torch.linalg.solve_triangular(factor.T, self.removal.target.to(dtype), upper=True, left=False)
        core: Tensor = torch.linalg.solve_triangular(factor, half, upper=False, left=False)
        return core

    def lifted(self, up: Tensor, down: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of X -> factors of dW."""
        return up if self.outputs is None else self.outputs @ up, self.directions.lift(down)


def pose(columns: Columns, retained: Retained, free: Beyond) -> Problem:
    """From columns that are fewer than the dimensions, and the directions that are free: in reduced bases."""
    span, places = spanned(free, torch.cat([columns.keys, retained.keys]))
    own, kept = places[: len(columns.keys)], places[len(columns.keys) :]
    outputs = torch.linalg.qr(columns.residuals.T).Q
    removal = replace(columns, keys=own, residuals=columns.residuals @ outputs).statistics()
    return Problem(span, outputs, removal, replace(retained, keys=kept).moment, columns.keys.shape[1])


def pose_sums(removal: Statistics, retained: Tensor, free: Beyond) -> Problem:
    """From sums, in the layer's own dimensions less the protected keys' directions."""
    own = Statistics(free.moment(removal.moment), free.places(removal.target))
    return Problem(free, None, own, free.moment(retained), len(retained))
