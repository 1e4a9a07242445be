"""Unified Concept Editing (Gandikota et al. 2024, arXiv 2308.14761): ridge regression on edit prompts and retain prompts alike.

With the symbols of `editor.solver.least_squares`, and C the sum over the retain prompts instead of their mean:

    dW = R A K^T (K A K^T + C + lambda)^-1

A retain prompt counts as much as an edit prompt, and lambda is 0.5, as in the released code. Nothing is protected: BOS and the
empty prompt may change. The paper takes one key for each concept and edits cross-attention; here the keys and the site are
those of the edit.
"""

from editor.methods.edit_statistics import key_scale, sum_rows
from editor.methods.layer_edit import LayerEdit
from editor.methods.solution import Solution, solve_ridge
from editor.solver.least_squares import Statistics

UCE_RIDGE = 0.5
"""Lambda relative to the scale of the keys."""


def solve(edit: LayerEdit) -> Solution:
    """Return the update of one site."""
    removed, row_count = sum_rows(edit)
    retain_prompts = edit.retained_keys.prompt_count
    statistics = Statistics(removed.moment + retain_prompts * edit.retain_moment, removed.target)
    return solve_ridge(statistics, UCE_RIDGE * key_scale(edit), row_count, preservation=retain_prompts)
