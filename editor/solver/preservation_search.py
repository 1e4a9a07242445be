"""How much to preserve: a search over the preservation weight on prompts in wordings that the edit did not see.

Everything happens at the edited layer, where a weight costs milliseconds. Too little preservation moves what should stay,
too much leaves the concept; between lies a wide good range. The weight chosen minimises the sum of what is left of the
concept and the drift that all but one in twenty retain prompts stay below. Of several concepts the one counts of which most
is left, for each has to go. What is left of a style counts double: it is spread over every object, so prompts differ more and
the mean hides the worst.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from api_schemas.report import TradeOffPoint
from editor.prompts import Removal
from editor.solver.normal_equations import Problem
from editor.solver.regression import Columns, Retained, summed

POWERS = range(-2, 11)
"""Weights tried are powers of two: how much a retain prompt counts beside an edit prompt."""
STEPS = (4, 2, 1)
"""The search narrows: every fourth power, then those beside the best."""
TINY = 1e-30


@dataclass(frozen=True)
class HeldOut:
    """Prompts to measure a candidate by."""

    targets: Columns
    owners: Tensor
    """(columns,): which removal a target column is of."""
    retained: Retained
    outputs: Tensor
    """Norm of each retain prompt's attention output, (prompts,)."""

    def by_removal(self, squares: Tensor) -> Tensor:
        """Weighted sums of the target columns' squares (n,), (removals,)."""
        return summed(squares * self.targets.weights, self.owners, int(self.owners[-1]) + 1)

    def drift(self, up: Tensor, down: Tensor) -> Tensor:
        """Relative change of each retain prompt's attention output by an update ``up @ down``, (prompts,)."""
        return self.retained.norms(self.retained.keys @ down.T @ up.T) / self.outputs

    def within(self, problem: Problem) -> "Reduced":
        """The same in the coordinates of a problem."""
        outputs, residuals, places = problem.outputs, self.targets.residuals, problem.directions.places
        inside = residuals if outputs is None else residuals @ outputs
        return Reduced(
            targets=replace(self.targets, keys=places(self.targets.keys).float(), residuals=inside.float()),
            outside=residuals.square().sum(1) - inside.square().sum(1),
            asked=self.by_removal(residuals.square().sum(1)).clamp(min=TINY),
            retained=replace(self.retained, keys=places(self.retained.keys).float()),
            whole=self,
        )


@dataclass(frozen=True)
class Reduced:
    """Held-out prompts in a problem's coordinates, where an update is its core X; in float32, for comparing candidates."""

    targets: Columns
    outside: Tensor
    """Squared norm of what of each residual no update can reach."""
    asked: Tensor
    """Squared norm of each removal's residuals."""
    retained: Retained
    whole: HeldOut

    def left(self, core: Tensor) -> Tensor:
        """The share of each removal that an update leaves, (removals,)."""
        return self.whole.by_removal(self.targets.left(lambda keys: keys @ core.T) + self.outside) / self.asked

    def point(self, preservation: float, core: Tensor) -> tuple[TradeOffPoint, Tensor]:
        """What one update removes and what it moves; and what it leaves of each removal, (removals,)."""
        share = self.left(core)
        drift = self.retained.norms(self.retained.keys @ core.T) / self.whole.outputs
        point = TradeOffPoint(
            preservation=preservation,
            removed=1 - float(share.mean()),
            least_removed=1 - float(share.max()),
            retained=1 - float(drift.mean()),
            predicted_retain_p95=float(drift.quantile(0.95)),
        )
        return point, share


@dataclass(frozen=True)
class Found:
    """What a search came to."""

    best: TradeOffPoint
    curve: list[TradeOffPoint]
    """The points that were looked at, in order."""
    cost: float
    """Of the best: less is better."""
    left: Tensor
    """(removals,): the share of each removal that the best leaves."""


def search(problem: Problem, prompts: HeldOut, emphasis: float) -> Found:
    """Look for the weight that costs least.

    Args:
        emphasis: how much what is left of the concepts counts, beside the drift.
    """
    reduced = prompts.within(problem)
    tried: dict[int, tuple[TradeOffPoint, Tensor]] = {}

    def cost(power: int) -> float:
        point, _ = tried[power]
        return emphasis * (1 - point.least_removed) + point.predicted_retain_p95

    for step in STEPS:
        centre = min(tried, key=cost) if tried else None
        for power in candidates(centre, step):
            if power not in tried:
                tried[power] = reduced.point(2.0**power, problem.core(2.0**power, torch.float32))
    best = min(tried, key=cost)
    point, left = tried[best]
    return Found(point, [tried[power][0] for power in sorted(tried)], cost(best), left)


def candidates(centre: int | None, step: int) -> list[int]:
    """Every ``step``-th power, or those at that distance from the best so far."""
    if centre is None:
        return list(POWERS[::step])
    return [power for power in (centre - step, centre + step) if power in POWERS]


MOST = 8.0
"""As often as one may count."""


Stress = Mapping[Removal, float]
"""What removals count that count more than once."""


def stress_of(removals: Sequence[Removal], left: Tensor) -> Stress:
    """More for those of which more than the mean share is ``left``, (removals,): as its square."""
    times = (left / left.mean()).square().clamp(1.0, MOST)
    return {removal: count for removal, count in zip(removals, times.tolist(), strict=True) if count > 1}
