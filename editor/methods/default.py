"""The default method: remove any number of concepts from a text encoder by one closed-form solve for each layer."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from api_schemas.report import ForeseenRemoval, SolveRecord, TradeOffPoint
from editor.checkpoints import OUT_PROJ, TextEncoder
from editor.checkpoints.tensor_update import TensorUpdate, make_tensor_update
from editor.io.progress import track
from editor.methods.adjustments import NO_ADJUSTMENTS, SolveAdjustments
from editor.methods.collateral_forecast import forecast_feasibility, rank_changes
from editor.methods.config import DEFAULT_METHOD, MethodConfig
from editor.methods.diff_quickfix import DIFF_QUICKFIX_RIDGE, diff_quickfix_statistics
from editor.methods.layer_edit import LayerEdit, RemovalWeights
from editor.methods.prepare_removals import prepare_removals
from editor.methods.solve_warnings import solve_warnings
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.sites.key_value_pairs import Site
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.solver.least_squares import cholesky
from editor.solver.low_rank_update import low_rank_factors
from editor.solver.normal_equations import NormalEquations
from editor.solver.preservation_search import SearchResult, search_weight, upweight_underfit
from editor.solver.tensor_cache import NULL_CACHE, TensorCache

TRUNCATION_TOLERANCE = 1e-2
"""Relative Frobenius norm that a low-rank update may leave out: a ten-thousandth of its energy."""
ROUNDING_TOLERANCE = 1e-12
"""Relative Frobenius norm that is rounding error."""
MAX_LISTED_PROMPTS = 20
"""Prompts that a record lists as changing most."""


@dataclass(frozen=True)
class TensorEdit:
    """The update of one tensor, and the record of how it was computed."""

    update: TensorUpdate
    record: SolveRecord

    @property
    def updates(self) -> list[TensorUpdate]:
        """The update, as a list."""
        return [self.update]

    @property
    def factors(self) -> tuple[Tensor, Tensor]:
        """The factors ``(up, down)`` of the update."""
        return self.update.up, self.update.down


@dataclass(frozen=True)
class SharedEdit:
    """The updates of all tensors that read one stream of text, and the record of the solve that they share."""

    factors: tuple[Tensor, Tensor]
    """``(up, down)`` of D, the solution in the stream's space."""
    updates: list[TensorUpdate]
    record: SolveRecord


Edit = TensorEdit | SharedEdit


@dataclass(frozen=True)
class Solution:
    """An update ``up @ down`` and its diagnostics."""

    up: Tensor
    down: Tensor
    row_count: int
    preservation: float
    ridge: float
    condition: float
    curve: list[TradeOffPoint]
    warnings: list[str]
    seconds: float
    feasibility: list[ForeseenRemoval]


def edit_encoder(
    source: TextEncoder,
    builder: PromptBuilder,
    removals: Sequence[ResolvedRemoval],
    method: MethodConfig = DEFAULT_METHOD,
    cache: TensorCache = NULL_CACHE,
    report_on: Sequence[ResolvedRemoval] = (),
    adjustments: SolveAdjustments = NO_ADJUSTMENTS,
) -> list[TensorEdit]:
    """Remove all ``removals`` from one text encoder together; their order does not matter.

    Args:
        source: the text encoder, opened lazily.
        builder: builds its prompts.
        removals: the concepts to remove.
        method: the settings.
        cache: stores statistics between the solves of a ledger.
        report_on: removals whose feasibility is reported; if empty, a sample.
        adjustments: what a closed loop strengthens or weakens.

    Returns:
        An exact low-rank update for each edited layer.

    Raises:
        ConceptError: a prompt does not fit the context.
        SolveError: the pinned prompts leave no direction to edit.
    """
    source.prefetch_tensors()
    model, layers = LazyCLIPTextModel(source), adjustments.layers or method.layers
    composed, reported = prepare_removals(removals, report_on, builder, adjustments)
    updates: dict[int, Tensor] = {}
    edits = []
    for layer in track(layers):
        site = Site(model, model.with_updates(updates), layer)
        edit = LayerEdit(site, builder, composed, method, cache, reported, adjustments)
        solution = solve_diff_quickfix(site, edit) if method.preset == "paper" else solve(edit)
        if len(layers) > 1:
            updates[layer] = solution.up @ solution.down
        edits.append(make_tensor_edit(site, edit, solution))
    return edits


def solve(edit: LayerEdit) -> Solution:
    """Compute the update of one site."""
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
        curve=result.curve,
        warnings=list(solve_warnings(chosen.point, at_bound, feasibility)),
        seconds=seconds,
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
        equations = NormalEquations.from_statistics(statistics, edit.retain_moment, edit.unprotected_subspace)
    return replace(equations, relative_ridge=edit.site.relative_ridge)


def solve_diff_quickfix(site: Site, edit: LayerEdit) -> Solution:
    """Compute the update of one site by the released Diff-QuickFix procedure."""
    statistics, row_count = diff_quickfix_statistics(site, edit.builder, edit.removals)
    start = time.perf_counter()
    delta = torch.cholesky_solve(statistics.target.T, cholesky(statistics.moment)).T
    seconds = time.perf_counter() - start
    up, down = low_rank_factors(delta, ROUNDING_TOLERANCE)
    condition = condition_bound(statistics.moment, DIFF_QUICKFIX_RIDGE)
    return Solution(up, down, row_count, 0.0, DIFF_QUICKFIX_RIDGE, condition, [], [], seconds, [])


def condition_bound(system: Tensor, ridge: float) -> float:
    """Return an upper bound of the condition number: eigenvalues are at most the trace and at least the ridge."""
    return float(torch.trace(system)) / ridge


def make_tensor_edit(site: Site, edit: LayerEdit, solution: Solution) -> TensorEdit:
    """Return the update of the site's tensor, and its record."""
    source, name = site.base.source, OUT_PROJ.format(layer=site.layer)
    update = make_tensor_update(source, name, solution.up, solution.down, site.base.stored_out_proj_weight(site.layer))
    return TensorEdit(update, make_record(edit, solution, [update]).model_copy(update={"layer": site.layer}))


def make_record(edit: LayerEdit, solution: Solution, updates: Sequence[TensorUpdate]) -> SolveRecord:
    """Return the record of a solve."""
    up, down = solution.up, solution.down
    drift = edit.held_out.drift(up, down)
    return SolveRecord(
        preset=edit.method.preset,
        component=updates[0].component,
        tensor=updates[0].name,
        shared_by=[update.name for update in updates],
        layer_choice=edit.method.layer_choice,
        columns=solution.row_count,
        rank=solution.up.shape[1],
        preservation=solution.preservation,
        ridge=solution.ridge,
        condition=solution.condition,
        relative_change=float(torch.trace((up.T @ up) @ (down @ down.T)).sqrt() / edit.site.norm_weight.norm()),
        null_prompt_drift=float((edit.null_keys @ down.T @ up.T).abs().max()),
        predicted_retain_p95=float(drift.quantile(0.95)),
        residual=edit.held_out.residual(up, down),
        seconds=solution.seconds,
        trade_off=solution.curve,
        foreseen=rank_changes(edit.held_out_retain_texts, drift)[:MAX_LISTED_PROMPTS],
        feasibility=solution.feasibility,
        warnings=solution.warnings,
        objective=edit.objective_record() if edit.method.preset == "default" else None,
    )
