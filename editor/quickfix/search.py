"""How much to preserve: a search over the preservation weight on prompts in wordings that the edit did not see.

Everything happens at the edited layer, where a weight costs milliseconds. Too little preservation moves what should stay,
too much leaves the concept; between lies a wide good range. The weight chosen minimises the sum of what is left of the
concept and the drift that all but one in twenty retain prompts stay below. What is left of a style counts double: it is spread
over every object, so prompts differ more and the mean hides the worst.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from api_schemas.report import TradeOffPoint
from editor.prompts import PromptBook, Removal
from editor.prompts.concepts import Kind
from editor.quickfix.keys import FirstLayer
from editor.quickfix.problem import Columns, Problem, pair_columns

PRESERVATIONS = tuple(float(2**power) for power in range(-2, 11))
"""Weights tried: how much a retain prompt counts beside an edit prompt."""
EMPHASIS: dict[Kind, float] = {"object": 1.0, "style": 2.0}


@dataclass(frozen=True)
class HeldOut:
    """Prompts to measure a candidate by."""

    targets: Columns
    retained: Tensor
    """Keys of retain prompts after BOS, (n, length, d)."""
    outputs: Tensor
    """Norm of each retain prompt's attention output, (n,)."""

    def point(self, preservation: float, delta: Tensor) -> TradeOffPoint:
        """What one update removes and what it moves."""
        drift = (self.retained @ delta.T).norm(dim=(1, 2)) / self.outputs
        left = self.targets.residuals - self.targets.keys @ delta.T
        removed = 1 - self.energy(left) / self.energy(self.targets.residuals).clamp(min=1e-30)
        return TradeOffPoint(
            preservation=preservation,
            removed=float(removed),
            retained=1 - float(drift.mean()),
            predicted_retain_p95=float(drift.quantile(0.95)),
        )

    def energy(self, residuals: Tensor) -> Tensor:
        """Weighted squared norm of residuals."""
        return (residuals.square().sum(1) * self.targets.weights).sum()


def held_out(layer: FirstLayer, book: PromptBook, removals: Sequence[Removal]) -> HeldOut:
    """Held-out prompts of a request."""
    pairs = [pair for removal in removals for pair in book.held_out_pairs(removal)]
    retained = layer.keys(book.ids(book.held_out_retain(removals)))[:, 1:]
    outputs = (retained @ layer.weight.T).norm(dim=(1, 2))
    return HeldOut(pair_columns(layer, pairs), retained, outputs)


def emphasis(removals: Sequence[Removal]) -> float:
    """How much what is left of the concepts counts, beside the drift."""
    return max(EMPHASIS[removal.concept.kind] for removal in removals)


def search(
    problem: Problem, prompts: HeldOut, removals: Sequence[Removal]
) -> tuple[TradeOffPoint, list[TradeOffPoint]]:
    """The best point and the whole trade-off curve."""
    curve = [prompts.point(weight, problem.solve(weight).delta) for weight in PRESERVATIONS]
    left = emphasis(removals)
    return min(curve, key=lambda point: left * (1 - point.removed) + point.predicted_retain_p95), curve
