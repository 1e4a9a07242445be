import numpy as np
import pytest

from api_schemas.report import Estimate
from editor.judging.statistics import at_most, estimate, overall


def test_the_interval_agrees_with_the_normal_one_where_that_holds() -> None:
    values = np.random.default_rng(1).normal(size=400)
    ours, margin = estimate(values.tolist()), 1.96 * values.std() / 20
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((values.mean() - margin, values.mean() + margin), abs=0.01)


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = [(e := estimate(rng.normal(size=60).tolist(), 0.9)).low <= 0 <= e.high for _ in range(200)]
    assert 0.82 <= np.mean(covered) <= 0.96


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    values = [0.0, 1.0] * 20
    narrow, wide = estimate(values, 0.5), estimate(values, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(
    ("low", "high", "outcome"), [(0.0, 0.05, "passed"), (0.06, 0.2, "failed"), (0.0, 0.2, "inconclusive")]
)
def test_a_verdict_needs_the_whole_interval(low: float, high: float, outcome: str) -> None:
    assert at_most(Estimate(value=(low + high) / 2, low=low, high=high, n=9), 0.05) == outcome


def test_overall() -> None:
    assert overall(["passed", "passed"]) == "passed"
    assert overall(["passed", "inconclusive"]) == "inconclusive"
    assert overall(["failed", "inconclusive", "passed"]) == "failed"


def test_nothing_can_be_estimated_from_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate([])
