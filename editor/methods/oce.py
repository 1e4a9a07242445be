"""Orthogonal Concept Erasure (Sun et al. 2026, arXiv 2605.28902): the map is rotated instead of changed by a sum.

    W' = Q W,   Q = argmax over orthogonal Q of tr(Q^T M) = U V^T for M = U Sigma V^T,

    M = -alpha E E^T (I - E* E*^T) + beta W C W^T + lambda W W^T

E and E* are orthonormal bases of the values of the concept and of its destination, C the second moment of the retained keys.
The first term turns what sets the concept apart from its destination away from itself; the others favour Q = I. So the concept
is not mapped to its destination. Lengths of values and angles between them stay as they are, but no value is protected, not
even those of the empty prompt. Q may reflect. Rotations do not commute: Q of several removals is no sum over them.

The terms are scaled to a mean eigenvalue of one, and the bases are the principal directions of the values, since there are more
rows than dimensions. At a site with several maps, Q rotates their values side by side.
"""

import time

import torch
from torch import Tensor

from editor.methods.edit_statistics import row_batches
from editor.methods.layer_edit import LayerEdit
from editor.methods.solution import Solution
from editor.solver.least_squares import second_moment
from editor.solver.subspaces import principal_directions

ALPHA, BETA, LAMBDA = 500.0, 50.0, 10.0
"""Weights of the three terms, from the published ranges (500 to 3500, 10 to 70, 10)."""
BASIS_EIGENVALUE = 1.0
"""Smallest eigenvalue of the values' second moment, relative to the mean one, whose direction is in a basis."""


def solve(edit: LayerEdit) -> Solution:
    """Return the update (Q - I) W of one site."""
    weight = edit.site.norm_weight.double()
    concept, destination, row_count = value_moments(edit, weight)
    start = time.perf_counter()
    rotation = fit_rotation(
        principal_directions(concept, BASIS_EIGENVALUE),
        principal_directions(destination, BASIS_EIGENVALUE),
        BETA * unit_scale(weight @ edit.retain_moment @ weight.T) + LAMBDA * unit_scale(weight @ weight.T),
    )
    seconds = time.perf_counter() - start
    return Solution.of(rotation @ weight - weight, row_count, seconds, condition=1.0)


def value_moments(edit: LayerEdit, weight: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return the second moments (o, o) of the concepts' values and of their destinations, and the number of rows."""
    concept, destination, row_count = torch.zeros(()), torch.zeros(()), 0
    for rows in row_batches(edit):
        values = (rows.keys @ weight.T)[rows.key_index]
        concept = concept + second_moment(values, rows.weights)
        destination = destination + second_moment(values + rows.residuals, rows.weights)
        row_count += len(values)
    return concept, destination, row_count


def fit_rotation(concept: Tensor, destination: Tensor, retained: Tensor) -> Tensor:
    """Return the orthogonal matrix Q, (o, o), nearest to M: the solution of the orthogonal Procrustes problem.

    Args:
        concept: E^T, (n, o), orthonormal.
        destination: E*^T, (m, o), orthonormal.
        retained: the terms that favour the identity, (o, o).
    """
    apart = concept - concept @ destination.T @ destination
    left, _, right = torch.linalg.svd(retained - ALPHA * concept.T @ apart)
    rotation: Tensor = left @ right
    return rotation


def unit_scale(moment: Tensor) -> Tensor:
    """Return a second moment scaled to a mean eigenvalue of one."""
    return moment * (len(moment) / moment.trace())
