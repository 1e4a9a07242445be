"""SPEED (Li et al. 2025, arXiv 2503.07392): ridge regression in the null space of what is retained.

With the symbols of `editor.solver.least_squares`, P the projection on the null space of the retained keys and K2 the keys of
BOS and of the empty prompt:

    dW = R A K^T P [I - M K2 (K2^T P M K2)^-1 K2^T P] M,        M = (K A K^T P + alpha)^-1

That is the ridge regression under the constraints dW = dW P and dW K2 = 0, so it is solved in the orthogonal complement of all
constrained directions. Only those retain prompts count that an update without constraints would change more than average, or
nothing would be left to edit. The augmentation of the retained keys by noise is left out: the retain prompts are sentences
already.
"""

from dataclasses import replace

from torch import Tensor

from editor.methods.edit_statistics import NULL_EIGENVALUE, key_scale, sum_rows
from editor.methods.layer_edit import LayerEdit
from editor.methods.solution import Solution, solve_ridge
from editor.solver.least_squares import Statistics
from editor.solver.subspaces import principal_directions

SPEED_RIDGE = 1.0
"""Alpha relative to the scale of the keys."""


def solve(edit: LayerEdit) -> Solution:
    """Return the update of one site.

    Raises:
        SolveError: the retained keys leave no direction to edit.
    """
    removed, row_count = sum_rows(edit)
    ridge = SPEED_RIDGE * key_scale(edit)
    trial = solve_ridge(removed, ridge, row_count)
    retained = principal_directions(influenced_moment(edit, trial), NULL_EIGENVALUE)
    free = edit.unprotected_subspace.without(retained)
    solution = solve_ridge(
        Statistics(free.project_moment(removed.moment), free.project(removed.target)), ridge, row_count
    )
    return replace(solution, down=free.lift(solution.down))


def influenced_moment(edit: LayerEdit, trial: Solution) -> Tensor:
    """Return the second moment (d, d) of the retain prompts that an update changes more than the average one."""
    retained = edit.retained_keys
    changes = retained.prompt_norms(retained.keys @ trial.down.T @ trial.up.T)
    influenced = (changes > changes.mean()).double()
    return replace(retained, weights=retained.weights * influenced[retained.prompt_index]).moment
