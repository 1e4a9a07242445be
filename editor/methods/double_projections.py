"""Double Projections (Zhang et al. 2026, arXiv 2604.10032): two projections, on safe concepts and on a null space.

1. A concept's value v becomes its projection on the span of safe concepts. Here that is the span of its destination v*, so that
   the request decides what the concept is mapped to: the proxy is (v.v* / v*.v*) v*, and R holds the differences to v.
2. U2 is an orthonormal basis of the left null space of the retained keys, and X = U2^T K:

       dW = R X^+ U2^T

   For one key x this is the paper's R x^T U2^T / |x|^2. For weighted rows, X^+ solves the weighted least squares problem.

The paper projects keys, and this module values, which are known at every site. Retained keys outnumber the dimensions, so U2 is
what their largest principal directions leave, as the paper allows. Nothing else is protected.
"""

import time
from dataclasses import replace

import torch
from torch import Tensor

from editor.methods.edit_statistics import NULL_EIGENVALUE, sum_rows
from editor.methods.layer_edit import LayerEdit
from editor.methods.solution import Solution
from editor.solver.least_squares import Statistics
from editor.solver.regression import RegressionRows
from editor.solver.subspaces import OrthogonalComplement, principal_directions

MIN_EIGENVALUE = 1e-2
"""Smallest eigenvalue of X A X^T, relative to the largest one, that is inverted: where x is close to zero, dW would explode.
With 1e-6, retain prompts were measured to change two to seven times as much for the same residual."""
MIN_SQUARE = 1e-30


def solve(edit: LayerEdit) -> Solution:
    """Return the update of one site.

    Raises:
        SolveError: the retained keys leave no direction to edit.
    """
    removed, row_count = sum_rows(edit, lambda rows: replace_by_proxy(rows, edit.site.norm_weight))
    start = time.perf_counter()
    delta = fit_in_null_space(removed, principal_directions(edit.retain_moment, NULL_EIGENVALUE))
    seconds = time.perf_counter() - start
    return Solution.of(delta, row_count, seconds, condition=1 / MIN_EIGENVALUE)


def fit_in_null_space(removed: Statistics, retained: Tensor) -> Tensor:
    """Return the least squares solution R X^+ U2^T, (o, d), of least norm.

    Args:
        removed: the statistics of R and K.
        retained: an orthonormal basis (k, d) of the retained keys.

    Raises:
        SolveError: the retained keys leave no direction to edit.
    """
    everything = OrthogonalComplement(retained[:0].T)
    free = everything.without(retained)
    moment = free.project_moment(removed.moment)
    return free.lift(removed.target @ torch.linalg.pinv(moment, rtol=MIN_EIGENVALUE, hermitian=True))


def replace_by_proxy(rows: RegressionRows, weight: Tensor) -> RegressionRows:
    """Return rows whose values become their projections on the destinations.

    Args:
        rows: rows whose values become their destinations.
        weight: (o, d), the map from keys to values.
    """
    values = (rows.keys @ weight.double().T)[rows.key_index]
    destinations = values + rows.residuals
    lengths = (values * destinations).sum(1) / destinations.square().sum(1).clamp(min=MIN_SQUARE)
    return replace(rows, residuals=lengths[:, None] * destinations - values)
