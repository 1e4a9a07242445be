from dataclasses import dataclass, field
from typing import cast

import pytest
import torch
from torch import Tensor

from api_schemas.report import TradeOffPoint
from editor.solver.normal_equations import NormalEquations
from editor.solver.preservation_search import (
    ALL_POWERS_OF_TWO,
    MAX_TARGET,
    MIN_DESTINATION,
    MIN_KEPT,
    POWERS_OF_TWO,
    Candidate,
    HeldOut,
    search_weight,
)


@dataclass
class PlantedProblem:
    """A problem whose expected share of spoiled images is least at ``best``."""

    best: int
    tried: list[int] = field(default_factory=list)

    def solve(self, preservation: float, dtype: torch.dtype) -> Tensor:
        return torch.zeros(1, 1, dtype=dtype)

    def reduce_to(self, equations: object) -> "PlantedProblem":
        return self

    def evaluate(self, preservation: float, solution: Tensor) -> Candidate:
        power = round(torch.log2(torch.tensor(preservation)).item())
        self.tried.append(power)
        kept = 1 - abs(power - self.best) / 100
        point = TradeOffPoint(
            preservation=preservation, removed=1, retained=1, predicted_retain_p95=0, destination=1, kept=kept
        )
        return Candidate(point, torch.zeros(1), torch.zeros(1), 0.0)


@pytest.mark.parametrize("best", [POWERS_OF_TWO[0], 3, POWERS_OF_TWO[-1], POWERS_OF_TWO[-1] + 5, POWERS_OF_TWO[0] - 4])
def test_the_search_looks_beyond_its_bounds(best: int) -> None:
    problem = PlantedProblem(best)
    result = search_weight(cast(NormalEquations, problem), cast(HeldOut, problem))
    assert result.best.point.preservation == 2.0**best
    assert not result.at_bound
    assert len(problem.tried) == len({*problem.tried}) == len(result.curve)


def test_a_search_that_ends_at_its_last_bound_says_so() -> None:
    problem = PlantedProblem(ALL_POWERS_OF_TWO[-1] + 50)
    result = search_weight(cast(NormalEquations, problem), cast(HeldOut, problem))
    assert result.at_bound
    assert result.best.point.preservation == 2.0 ** ALL_POWERS_OF_TWO[-1]


def test_a_share_at_its_gate_costs_one() -> None:
    at_gates = TradeOffPoint(
        preservation=1, removed=1, retained=1, predicted_retain_p95=0, destination=MIN_DESTINATION, kept=MIN_KEPT
    )
    assert Candidate(at_gates, torch.zeros(1), torch.zeros(1), MAX_TARGET).cost == pytest.approx(3)
    ideal = at_gates.model_copy(update={"destination": 1.0, "kept": 1.0})
    assert Candidate(ideal, torch.zeros(1), torch.zeros(1), 0.0).cost == 0
