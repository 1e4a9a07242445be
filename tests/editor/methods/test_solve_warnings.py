from api_schemas.report import ForeseenRemoval, TradeOffPoint
from editor.methods.solve_warnings import solve_warnings

POINT = TradeOffPoint(preservation=8, removed=0.9, retained=0.9, predicted_retain_p95=0.1, destination=0.95, kept=0.99)


def removal(destination: float | None) -> ForeseenRemoval:
    return ForeseenRemoval(concept="fox", kind="object", leak=0.1, left=0.1, destination=destination)


def test_a_good_solve_has_no_warnings() -> None:
    assert list(solve_warnings(POINT, False, [removal(0.95), removal(None)])) == []


def test_each_problem_has_its_warning() -> None:
    poor = POINT.model_copy(update={"kept": 0.8})
    bound, destination, kept = solve_warnings(poor, True, [removal(0.5), removal(0.95)])
    assert "bound, 8" in bound
    assert "1 of 2 removals" in destination
    assert "80%" in kept
