"""Search for the preservation weight on held-out prompts, whose wordings the edit did not use.

Everything happens at the edited layer, where evaluating a weight takes milliseconds. With too little preservation unrelated
prompts change, with too much the concept remains; the range between is wide. The chosen weight minimises the remaining
share of the concept plus the 95th percentile of the retain prompts' drift. With several concepts the least removed one
counts, because each of them has to go. The remaining share of a style counts double: a style is spread over every object,
so its prompts differ more and the mean hides the worst ones.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from api_schemas.report import TradeOffPoint
from editor.io.progress import checked
from editor.solver.normal_equations import NormalEquations
from editor.solver.regression import RegressionRows, RetainedKeys, segment_sum

POWERS_OF_TWO = range(-2, 11)
"""Exponents of the weights that are tried. The weight is how much a retain prompt counts relative to an edit prompt."""
SEARCH_STEPS = (4, 2, 1)
"""The search narrows: every fourth exponent, then the neighbours of the best one at these distances."""
MIN_RESIDUAL = 1e-30
MAX_REWEIGHT = 8.0
"""Largest factor by which an under-fitted removal is upweighted."""
Item = TypeVar("Item")


@dataclass(frozen=True)
class HeldOut:
    """Held-out prompts to evaluate a candidate update on."""

    targets: RegressionRows
    owners: Tensor
    """(rows,), the removal of each target row; ascending."""
    retained: RetainedKeys
    output_norms: Tensor
    """(prompts,), norm of each retain prompt's output."""

    def sum_by_removal(self, squares: Tensor) -> Tensor:
        """Return weighted sums (removals,) of one value for each target row, (n,)."""
        return segment_sum(squares * self.targets.weights, self.owners, int(self.owners[-1]) + 1)

    def drift(self, up: Tensor, down: Tensor) -> Tensor:
        """Return the relative change of each retain prompt's output under the update ``up @ down``, (prompts,)."""
        return self.retained.prompt_norms(self.retained.keys @ down.T @ up.T) / self.output_norms

    def reduce_to(self, equations: NormalEquations) -> "ReducedHeldOut":
        """Express the prompts in the coordinates of the normal equations."""
        output_basis, residuals, project = equations.output_basis, self.targets.residuals, equations.subspace.project
        reachable = residuals if output_basis is None else residuals @ output_basis
        return ReducedHeldOut(
            targets=replace(self.targets, keys=project(self.targets.keys).float(), residuals=reachable.float()),
            unreachable=residuals.square().sum(1) - reachable.square().sum(1),
            initial=self.sum_by_removal(residuals.square().sum(1)).clamp(min=MIN_RESIDUAL),
            retained=replace(self.retained, keys=project(self.retained.keys).float()),
            held_out=self,
        )


@dataclass(frozen=True)
class ReducedHeldOut:
    """Held-out prompts in reduced coordinates, where an update is a solution X; float32, for comparing candidates."""

    targets: RegressionRows
    unreachable: Tensor
    """(rows,), squared norm of the part of each residual that is outside the output basis."""
    initial: Tensor
    """(removals,), squared norm of each removal's residuals before the edit."""
    retained: RetainedKeys
    held_out: HeldOut

    def remaining_shares(self, solution: Tensor) -> Tensor:
        """Return the share of each removal's residual that remains after the update, (removals,)."""
        squares = self.targets.squared_residuals(lambda keys: keys @ solution.T) + self.unreachable
        return self.held_out.sum_by_removal(squares) / self.initial

    def evaluate(self, preservation: float, solution: Tensor) -> tuple[TradeOffPoint, Tensor]:
        """Return the removed and retained shares of a candidate, and :meth:`remaining_shares`."""
        shares = self.remaining_shares(solution)
        drift = self.retained.prompt_norms(self.retained.keys @ solution.T) / self.held_out.output_norms
        point = TradeOffPoint(
            preservation=preservation,
            removed=1 - float(shares.mean()),
            least_removed=1 - float(shares.max()),
            retained=1 - float(drift.mean()),
            predicted_retain_p95=float(drift.quantile(0.95)),
        )
        return point, shares


@dataclass(frozen=True)
class SearchResult:
    """The best candidate of a search, and all that were evaluated."""

    best: TradeOffPoint
    curve: list[TradeOffPoint]
    """All evaluated candidates, by ascending weight."""
    cost: float
    """Cost of the best candidate; lower is better."""
    remaining_shares: Tensor
    """(removals,), the share of each removal's residual that remains with the best candidate."""


def search_weight(equations: NormalEquations, held_out: HeldOut, emphasis: float) -> SearchResult:
    """Search for the preservation weight of lowest cost.

    Args:
        equations: the normal equations.
        held_out: prompts to evaluate candidates on.
        emphasis: weight of the remaining share of the concepts relative to the drift.
    """
    reduced = held_out.reduce_to(equations)
    tried: dict[int, tuple[TradeOffPoint, Tensor]] = {}

    def cost(power: int) -> float:
        point, _ = tried[power]
        return emphasis * (1 - point.least_removed) + point.predicted_retain_p95

    for step in checked(SEARCH_STEPS):
        centre = min(tried, key=cost) if tried else None
        for power in candidate_powers(centre, step):
            if power not in tried:
                tried[power] = reduced.evaluate(2.0**power, equations.solve(2.0**power, torch.float32))
    best = min(tried, key=cost)
    point, shares = tried[best]
    return SearchResult(point, [tried[power][0] for power in sorted(tried)], cost(best), shares)


def candidate_powers(centre: int | None, step: int) -> list[int]:
    """Return every ``step``-th exponent, or those at that distance from the best one so far."""
    if centre is None:
        return list(POWERS_OF_TWO[::step])
    return [power for power in (centre - step, centre + step) if power in POWERS_OF_TWO]


def upweight_underfit(removals: Sequence[Item], remaining_shares: Tensor) -> dict[Item, float]:
    """Return the weights above 1 of the under-fitted removals: (share / mean share)^2, clamped to [1, 8].

    Args:
        removals: the removals that were measured.
        remaining_shares: (removals,), the share of each one's residual that remains.
    """
    factors = (remaining_shares / remaining_shares.mean()).square().clamp(1.0, MAX_REWEIGHT)
    return {removal: factor for removal, factor in zip(removals, factors.tolist(), strict=True) if factor > 1}
