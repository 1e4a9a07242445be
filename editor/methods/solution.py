"""The update that a method computes for one site."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from api_schemas.report import ForeseenRemoval, TradeOffPoint
from editor.solver.least_squares import Statistics, cholesky
from editor.solver.low_rank_update import low_rank_factors

ROUNDING_TOLERANCE = 1e-12
"""Relative Frobenius norm that is rounding error."""


@dataclass(frozen=True)
class Solution:
    """An update ``up @ down`` and its diagnostics."""

    up: Tensor
    down: Tensor
    row_count: int
    preservation: float
    ridge: float
    condition: float
    seconds: float
    """Wall time of the solve."""
    curve: list[TradeOffPoint] = field(default_factory=list)
    """The preservation weights that were tried."""
    warnings: list[str] = field(default_factory=list)
    feasibility: list[ForeseenRemoval] = field(default_factory=list)

    @classmethod
    def of(
        cls,
        delta: Tensor,
        row_count: int,
        seconds: float,
        condition: float,
        preservation: float = 0.0,
        ridge: float = 0.0,
    ) -> "Solution":
        """Return the solution of an update (o, d) float64, factored without truncation."""
        up, down = low_rank_factors(delta, ROUNDING_TOLERANCE)
        return cls(up, down, row_count, preservation, ridge, condition, seconds)


def solve_ridge(statistics: Statistics, ridge: float, row_count: int, preservation: float = 0.0) -> Solution:
    """Return the ridge regression of residuals on keys, ``dW = R A K^T (K A K^T + ridge)^-1``, without truncation.

    Args:
        statistics: what the update is regressed on.
        ridge: lambda in absolute units.
        row_count: number of rows that the statistics sum, for the record.
        preservation: weight of a retain prompt in the statistics, for the record.
    """
    start = time.perf_counter()
    system = statistics.moment + ridge * torch.eye(len(statistics.moment), dtype=torch.float64)
    delta = torch.cholesky_solve(statistics.target.T, cholesky(system)).T
    seconds = time.perf_counter() - start
    return Solution.of(delta, row_count, seconds, condition_bound(system, ridge), preservation, ridge)


def condition_bound(system: Tensor, ridge: float) -> float:
    """Return an upper bound of the condition number: eigenvalues are at most the trace and at least the ridge."""
    return float(torch.trace(system)) / ridge
