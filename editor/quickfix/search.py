"""How much to preserve: a search over the preservation weight on prompts in wordings that the edit did not see.

Everything happens at the edited layer, where a weight costs milliseconds. Too little preservation moves what should stay,
too much leaves the concept; between lies a wide good range. The weight chosen minimises the sum of what is left of the
concept and the drift that all but one in twenty retain prompts stay below. Of several concepts the one counts of which most
is left, for each has to go. What is left of a style counts double: it is spread over every object, so prompts differ more and
the mean hides the worst.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from api_schemas.report import TradeOffPoint
from editor.quickfix.columns import Columns, Retained
from editor.quickfix.problem import Problem

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
    """Weighted norm of each retain prompt's attention output, (prompts,)."""

    def by_removal(self, squares: Tensor) -> Tensor:
        """Weighted sums of the target columns' squares (n,), (removals,)."""
        weighted = squares * self.targets.weights
        return torch.zeros(int(self.owners[-1]) + 1, dtype=squares.dtype).index_add(0, self.owners, weighted)

    def drift(self, up: Tensor, down: Tensor) -> Tensor:
        """Relative change of each retain prompt's attention output by an update ``up @ down``, (prompts,)."""
        return prompt_norms(self.retained.keys @ down.T @ up.T, self.retained) / self.outputs

    def within(self, problem: Problem) -> "Reduced":
        """The same in the bases of a problem."""
        outputs = problem.outputs
        residuals = self.targets.residuals
        inside = residuals if outputs is None else residuals @ outputs
        return Reduced(
            targets=self.targets.keys @ problem.inputs,
            residuals=inside,
            outside=residuals.square().sum(1) - inside.square().sum(1),
            retained=self.retained.keys @ problem.inputs,
            whole=self,
        )


@dataclass(frozen=True)
class Reduced:
    """Held-out prompts in a problem's bases, where an update is its core X."""

    targets: Tensor
    residuals: Tensor
    outside: Tensor
    """Squared norm of what of each residual no update can reach."""
    retained: Tensor
    whole: HeldOut

    def point(self, preservation: float, core: Tensor) -> TradeOffPoint:
        """What one update removes and what it moves."""
        whole = self.whole
        left = whole.by_removal((self.residuals - self.targets @ core.T).square().sum(1) + self.outside)
        share = left / whole.by_removal(whole.targets.residuals.square().sum(1)).clamp(min=TINY)
        drift = prompt_norms(self.retained @ core.T, whole.retained) / whole.outputs
        return TradeOffPoint(
            preservation=preservation,
            removed=1 - float(share.mean()),
            least_removed=1 - float(share.max()),
            retained=1 - float(drift.mean()),
            predicted_retain_p95=float(drift.quantile(0.95)),
        )


def prompt_norms(rows: Tensor, retained: Retained) -> Tensor:
    """Weighted norm of the rows of each prompt, (prompts,)."""
    squares = rows.square().sum(1) * retained.weights
    return torch.zeros(int(retained.prompts[-1]) + 1, dtype=rows.dtype).index_add(0, retained.prompts, squares).sqrt()


def search(problem: Problem, prompts: HeldOut, emphasis: float) -> tuple[TradeOffPoint, list[TradeOffPoint]]:
    """The best point and those of the trade-off curve that were looked at, in order.

    Args:
        emphasis: how much what is left of the concepts counts, beside the drift.
    """
    reduced = prompts.within(problem)
    tried: dict[int, TradeOffPoint] = {}

    def cost(power: int) -> float:
        point = tried[power]
        return emphasis * (1 - point.least_removed) + point.predicted_retain_p95

    for step in STEPS:
        centre = min(tried, key=cost) if tried else None
        for power in candidates(centre, step):
            if power not in tried:
                tried[power] = reduced.point(2.0**power, problem.core(2.0**power))
    return tried[min(tried, key=cost)], [tried[power] for power in sorted(tried)]


def candidates(centre: int | None, step: int) -> list[int]:
    """Every ``step``-th power, or those at that distance from the best so far."""
    if centre is None:
        return list(POWERS[::step])
    return [power for power in (centre - step, centre + step) if power in POWERS]
