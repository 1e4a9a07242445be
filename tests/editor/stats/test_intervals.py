import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from editor.stats.intervals import (
    bca_interval,
    conservative_bootstrap,
    estimate_mean,
    estimate_rate,
    wilson_interval,
)

SPREAD_OUT = st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=2, max_size=60)


def test_the_interval_agrees_with_the_normal_one_where_that_holds() -> None:
    values = np.random.default_rng(1).normal(size=400)
    ours, margin = estimate_mean(values.tolist()), 1.96 * values.std() / 20
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((values.mean() - margin, values.mean() + margin), abs=0.01)


@pytest.mark.parametrize("draw", ["exponential", "normal", "binary"])
def test_bca_agrees_with_scipy(draw: str) -> None:
    rng = np.random.default_rng(3)
    values = {"exponential": rng.exponential(size=40), "normal": rng.normal(size=60), "binary": rng.random(50) < 0.2}
    sample = values[draw].astype(float)
    found = scipy.stats.bootstrap((sample,), np.mean, n_resamples=20_000, method="BCa", rng=4).confidence_interval
    assert bca_interval(sample) == pytest.approx(
        (found.low, found.high), abs=0.1 * sample.std() / len(sample) ** 0.5 * 4
    )


def test_bca_leans_the_way_the_values_do() -> None:
    """A percentile interval of a skewed sample reaches too low."""
    sample = np.random.default_rng(5).exponential(size=30)
    means = sample[np.random.default_rng(0).integers(0, 30, (2000, 30))].mean(1)
    percentile = np.quantile(means, [0.025, 0.975])
    low, high = bca_interval(sample)
    assert low > percentile[0]
    assert high > percentile[1]


def test_the_interval_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    covered = [(e := estimate_mean(rng.normal(size=60).tolist(), 0.9)).low <= 0 <= e.high for _ in range(200)]
    assert 0.82 <= np.mean(covered) <= 0.96


def test_seeds_of_one_prompt_are_no_further_evidence() -> None:
    """Prompts that differ and seeds that don't: the interval is as wide as with one seed, not half as wide."""
    by_prompt = np.random.default_rng(6).random(40)
    images = np.repeat(by_prompt, 4).reshape(40, 4)
    assert estimate_mean(images.mean(1).tolist()) == estimate_mean(by_prompt.tolist())
    low, high = bca_interval(images.ravel())
    ours = estimate_mean(images.mean(1).tolist())
    assert ours.high - ours.low > 1.6 * (high - low)


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    values = [0.0, 1.0] * 20
    narrow, wide = estimate_mean(values, 0.5), estimate_mean(values, 0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


@pytest.mark.parametrize(("hits", "n"), [(0, 20), (1, 80), (10, 20), (20, 20)])
def test_a_rate_has_the_score_interval(hits: int, n: int) -> None:
    found = scipy.stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits, n) == pytest.approx((found.low, found.high), abs=1e-12)
    ours = estimate_rate([1.0] * hits + [0.0] * (n - hits))
    assert (ours.value, ours.n) == (hits / n, n)
    assert (ours.low, ours.high) == wilson_interval(hits, n)


@settings(max_examples=40, deadline=None)
@given(SPREAD_OUT)
def test_the_guarded_interval_is_inside_of_what_is_possible_and_around_the_mean(values: list[float]) -> None:
    low, high = conservative_bootstrap(values, (-1.0, 1.0))
    assert -1 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= 1


def test_nothing_seen_in_a_few_prompts_does_not_mean_that_nothing_is_there() -> None:
    """One loss in thirty shows in none of 40 prompts one time in four; a bootstrap of zeros has no width."""
    assert bca_interval(np.zeros(40)) == (0.0, 0.0)
    assert conservative_bootstrap([0.0] * 40, (-1.0, 1.0))[1] > 0.05
    assert conservative_bootstrap([0.0] * 400, (-1.0, 1.0))[1] < 0.02


def test_nothing_can_be_estimated_from_nothing() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate_mean([])
