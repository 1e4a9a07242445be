"""Search for the preservation weight on held-out prompts, whose wordings the edit did not use.

Everything happens at the edited layer, where evaluating a weight takes milliseconds. With too little preservation unrelated
prompts change, with too much the concept remains; the range between is wide. Both are measured alike: by how far a prompt's
output is from the one that it should have, the destination's or its own, relative to that one. A curve turns the distance into
the probability that the image shows what it should; another one turns what remains of the way to the destination into the
probability that it still shows the concept. The chosen weight minimises the expected shares of images that show the concept,
that miss their destination and that are spoiled, each relative to what the default gates tolerate. They are means, so that no
removal can hold the search up.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from api_schemas.report import TradeOffPoint
from editor.io.progress import checked
from editor.solver.normal_equations import NormalEquations
from editor.solver.regression import RegressionRows, RetainedKeys, segment_sum
from editor.solver.risk_curves import RiskCurves

POWERS_OF_TWO = range(-2, 11)
"""Exponents of the weights that are tried first. The weight is how much a retain prompt counts relative to an edit prompt."""
ALL_POWERS_OF_TWO = range(-10, 21)
"""Exponents beyond which the search does not look when the best one so far is at a bound."""
SEARCH_STEPS = (4, 2, 1)
"""The search narrows: every fourth exponent, then the neighbours of the best one at these distances."""
MAX_TARGET, MIN_DESTINATION, MIN_KEPT = 0.05, 0.85, 0.97
"""Shares of images that the default gates ask for: that show the concept, that show the destination, that are not spoiled."""
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
    destination_norms: Tensor
    """(pairs,), norm of each target pair's output at its destination."""
    curves: RiskCurves
    """What distances say about images."""

    @property
    def pair_owners(self) -> Tensor:
        """The removal of each target pair, (pairs,)."""
        owners = torch.zeros(len(self.destination_norms), dtype=torch.long)
        return owners.scatter(0, self.targets.pair_index, self.owners)

    def pair_norms(self, squares: Tensor) -> Tensor:
        """Return the weighted norm of each target pair, (pairs,), from the squared norm of each target row, (n,)."""
        return segment_sum(squares * self.targets.weights, self.targets.pair_index, len(self.destination_norms)).sqrt()

    def sum_by_removal(self, squares: Tensor) -> Tensor:
        """Return weighted sums (removals,) of one value for each target row, (n,)."""
        return segment_sum(squares * self.targets.weights, self.owners, int(self.owners[-1]) + 1)

    def drift(self, up: Tensor, down: Tensor) -> Tensor:
        """Return the relative change of each retain prompt's output under the update ``up @ down``, (prompts,)."""
        return self.retained.prompt_changes(self.retained.keys @ down.T @ up.T) / self.output_norms

    def residual(self, up: Tensor, down: Tensor) -> float:
        """Return how far target prompts remain from their destinations under ``up @ down``: 0 closed, 1 unchanged.

        It is ``|W'k - Wk*| / |W(k - k*)|`` over all target rows, each with its weight.
        """
        before = self.targets.initial_squares @ self.targets.weights
        after = self.targets.squared_residuals(lambda keys: keys @ down.T @ up.T) @ self.targets.weights
        return float((after / before.clamp(min=MIN_RESIDUAL)).sqrt())

    def reduce_to(self, equations: NormalEquations) -> "ReducedHeldOut":
        """Express the prompts in the coordinates of the normal equations."""
        output_basis, residuals, project = equations.output_basis, self.targets.residuals, equations.subspace.project
        reachable, initial = (
            residuals if output_basis is None else residuals @ output_basis,
            self.targets.initial_squares,
        )
        return ReducedHeldOut(
            targets=replace(self.targets, keys=project(self.targets.keys).float(), residuals=reachable.float()),
            unreachable=residuals.square().sum(1) - reachable.square().sum(1),
            initial=self.sum_by_removal(initial).clamp(min=MIN_RESIDUAL),
            initial_distances=self.pair_norms(initial).clamp(min=MIN_RESIDUAL),
            retained=self.retained.in_bases(project(self.retained.keys).float(), output_basis),
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
    initial_distances: Tensor
    """(pairs,), the distance of each target pair's output from its destination before the edit."""
    retained: RetainedKeys
    held_out: HeldOut

    def evaluate(self, preservation: float, solution: Tensor) -> "Candidate":
        """Return what a solution does to the held-out prompts."""
        held_out = self.held_out
        squares = self.targets.squared_residuals(lambda keys: keys @ solution.T) + self.unreachable
        shares = held_out.sum_by_removal(squares) / self.initial
        distances = held_out.pair_norms(squares)
        missed = held_out.curves.missed(distances / held_out.destination_norms)
        found = held_out.curves.found(distances / self.initial_distances)
        drift = self.retained.prompt_changes(self.retained.keys @ solution.T) / held_out.output_norms
        owners = held_out.pair_owners
        risks = segment_sum(missed, owners, len(shares)) / torch.bincount(owners, minlength=len(shares))
        point = TradeOffPoint(
            preservation=preservation,
            removed=1 - float(shares.mean()),
            least_removed=1 - float(shares.max()),
            destination=1 - float(risks.mean()),
            least_destination=1 - float(risks.max()),
            kept=1 - float(held_out.curves.spoiled(drift).mean()),
            retained=1 - float(drift.mean()),
            predicted_retain_p95=float(drift.quantile(0.95)),
        )
        return Candidate(point, shares, risks, float(found.mean()))


@dataclass(frozen=True)
class Candidate:
    """A preservation weight and what it does to the held-out prompts."""

    point: TradeOffPoint
    remaining_shares: Tensor
    """(removals,), the share of each removal's residual that remains."""
    risks: Tensor
    """(removals,), the mean probability that an image of each removal does not show its destination."""
    target: float
    """The mean probability that an image of a removal shows the concept."""

    @property
    def cost(self) -> float:
        """Expected shares of images that fail a gate, each relative to what the gate tolerates."""
        missed, spoiled = 1 - self.point.destination, 1 - self.point.kept
        return self.target / MAX_TARGET + missed / (1 - MIN_DESTINATION) + spoiled / (1 - MIN_KEPT)


@dataclass(frozen=True)
class SearchResult:
    """The best candidate of a search, and all that were evaluated."""

    best: Candidate
    curve: list[TradeOffPoint]
    """All evaluated candidates, by ascending weight."""
    at_bound: bool
    """Whether the best weight is the smallest or the largest that the search may try."""


def search_weight(equations: NormalEquations, held_out: HeldOut) -> SearchResult:
    """Search for the preservation weight of lowest cost; beyond the usual weights if the best one is at a bound.

    Args:
        equations: the normal equations.
        held_out: prompts to evaluate candidates on.
    """
    reduced, tried = held_out.reduce_to(equations), dict[int, Candidate]()

    def best_after(powers: Iterable[int]) -> int:
        """Evaluate exponents that are new, and return the best so far."""
        for power in powers:
            if power not in tried and power in ALL_POWERS_OF_TWO:
                tried[power] = reduced.evaluate(2.0**power, equations.solve(2.0**power, torch.float32))
        return min(tried, key=lambda power: tried[power].cost)

    centre = best_after(POWERS_OF_TWO[:: SEARCH_STEPS[0]])
    for step in checked(SEARCH_STEPS):
        centre = best_after((centre - step, centre + step))
    while centre in (min(tried), max(tried)) and centre not in (ALL_POWERS_OF_TWO[0], ALL_POWERS_OF_TWO[-1]):
        centre = best_after((centre - 1, centre + 1))
    at_bound = centre in (ALL_POWERS_OF_TWO[0], ALL_POWERS_OF_TWO[-1])
    return SearchResult(tried[centre], [tried[power].point for power in sorted(tried)], at_bound)


def upweight_underfit(removals: Sequence[Item], remaining_shares: Tensor) -> dict[Item, float]:
    """Return the weights above 1 of the under-fitted removals: (share / mean share)^2, clamped to [1, 8].

    Args:
        removals: the removals that were measured.
        remaining_shares: (removals,), the share of each one's residual that remains.
    """
    factors = (remaining_shares / remaining_shares.mean()).square().clamp(1.0, MAX_REWEIGHT)
    return {removal: factor for removal, factor in zip(removals, factors.tolist(), strict=True) if factor > 1}
