"""The default method: one weighted ridge regression, whose preservation weight is searched for on held-out prompts."""

import time
from dataclasses import replace

from editor.methods.collateral_forecast import forecast_feasibility
from editor.methods.layer_edit import LayerEdit, RemovalWeights
from editor.methods.solution import Solution, condition_bound
from editor.methods.solve_warnings import solve_warnings
from editor.solver.low_rank_update import low_rank_factors
from editor.solver.normal_equations import NormalEquations
from editor.solver.preservation_search import SearchResult, search_weight, upweight_underfit

TRUNCATION_TOLERANCE = 1e-2
"""Relative Frobenius norm that a low-rank update may leave out: a ten-thousandth of its energy."""


def solve(edit: LayerEdit) -> Solution:
    """Return the update of one site."""
    edit.prefetch()
    equations, result, weights = search_preservation(edit)
    wanted = result.best.point.preservation if edit.method.preservation == "auto" else edit.method.preservation
    preservation = wanted * edit.adjustments.preservation_scale
    start = time.perf_counter()
    reduced = equations.solve(preservation)
    seconds = time.perf_counter() - start
    tolerance = edit.site.effect_tolerance
    factors = (
        equations.solve_low_rank(preservation, tolerance)
        if tolerance
        else low_rank_factors(reduced, TRUNCATION_TOLERANCE)
    )
    up, down = equations.to_weight_space(*factors)
    chosen = edit.held_out.reduce_to(equations).evaluate(preservation, reduced.float())
    destinations = dict(zip(edit.sampled_removals, (1 - chosen.risks).tolist(), strict=True))
    feasibility = forecast_feasibility(edit, equations, preservation, (up, down), weights, destinations)
    at_bound = result.at_bound and edit.method.preservation == "auto"
    return Solution(
        up=up,
        down=down,
        row_count=edit.row_count,
        preservation=preservation,
        ridge=equations.ridge,
        condition=condition_bound(equations.system(preservation), equations.ridge),
        seconds=seconds,
        curve=result.curve,
        warnings=list(solve_warnings(chosen.point, at_bound, feasibility)),
        feasibility=feasibility,
    )


def search_preservation(edit: LayerEdit) -> tuple[NormalEquations, SearchResult, RemovalWeights]:
    """Search for the preservation weight; then upweight under-fitted removals and search again.

    The second result is used only if its held-out cost is lower.
    """
    equations = build_normal_equations(edit, {})
    result = search_weight(equations, edit.held_out)
    shares = result.best.remaining_shares
    if edit.measures_each_removal and (weights := upweight_underfit(edit.sampled_removals, shares)):
        reweighted = build_normal_equations(edit, weights)
        second = search_weight(reweighted, edit.held_out)
        if second.best.cost < result.best.cost:
            return reweighted, second, weights
    return equations, result, {}


def build_normal_equations(edit: LayerEdit, weights: RemovalWeights) -> NormalEquations:
    """Build the normal equations from rows if they are few, else from fixed-point statistics."""
    if edit.small_problem_pairs is not None:
        rows = edit.reweighted_rows(weights)
        equations = NormalEquations.from_rows(rows, edit.retained_keys, edit.unprotected_subspace)
    else:
        statistics = edit.reweighted_statistics(weights)
        equations = NormalEquations.from_statistics(
            *(statistics, edit.retain_moment, edit.unprotected_subspace, edit.retain_target)
        )
    return replace(equations, relative_ridge=edit.site.relative_ridge)
