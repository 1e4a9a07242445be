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


def test_bootstrap_agrees_with_the_normal_interval_for_normal_data() -> None:
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


def test_bca_corrects_for_skewness() -> None:
    """The percentile interval of a skewed sample is too low."""
    sample = np.random.default_rng(5).exponential(size=30)
    means = sample[np.random.default_rng(0).integers(0, 30, (2000, 30))].mean(1)
    percentile = np.quantile(means, [0.025, 0.975])
    low, high = bca_interval(sample)
    assert low > percentile[0]
    assert high > percentile[1]


def test_bootstrap_intervals_cover_the_mean_at_the_stated_rate() -> None:
    rng = np.random.default_rng(2)
    covered = [(e := estimate_mean(rng.normal(size=60).tolist(), 0.9)).low <= 0 <= e.high for _ in range(200)]
    assert 0.82 <= np.mean(covered) <= 0.96


def test_repeated_seeds_do_not_narrow_the_interval() -> None:
    """If the seeds of a prompt agree, four seeds give the same interval as one."""
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
def test_wilson_interval_agrees_with_scipy(hits: int, n: int) -> None:
    found = scipy.stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson_interval(hits, n) == pytest.approx((found.low, found.high), abs=1e-12)
    ours = estimate_rate([1.0] * hits + [0.0] * (n - hits))
    assert (ours.value, ours.n) == (hits / n, n)
    assert (ours.low, ours.high) == wilson_interval(hits, n)


@settings(max_examples=40, deadline=None)
@given(SPREAD_OUT)
def test_the_conservative_interval_contains_the_mean_and_stays_within_the_support(values: list[float]) -> None:
    low, high = conservative_bootstrap(values, (-1.0, 1.0))
    assert -1 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= 1


def test_the_conservative_interval_has_width_if_no_prompt_changed() -> None:
    """A change in one of thirty prompts is missed by 40 prompts one time in four; a bootstrap of zeros has no width."""
    assert bca_interval(np.zeros(40)) == (0.0, 0.0)
    assert conservative_bootstrap([0.0] * 40, (-1.0, 1.0))[1] > 0.05
    assert conservative_bootstrap([0.0] * 400, (-1.0, 1.0))[1] < 0.02


def test_an_estimate_needs_at_least_one_value() -> None:
    with pytest.raises(ValueError, match="at least one"):
        estimate_mean([])
