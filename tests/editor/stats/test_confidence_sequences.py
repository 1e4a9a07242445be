"""Confidence sequences under repeated interim analyses, compared with intervals of fixed sample size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editor.stats.confidence_sequences import (
    BET_FRACTIONS,
    BET_SHARES,
    anytime_valid_interval,
    evidence_above,
    evidence_below,
)
from editor.stats.intervals import wilson_interval

RUNS, LONGEST, LEVEL = 400, 240, 0.1
LOOKS = range(8, LONGEST + 1, 8)


def coins(rate: float, seed: int) -> np.ndarray:
    """``(RUNS, LONGEST)`` of zeros and ones."""
    return (np.random.default_rng(seed).random((RUNS, LONGEST)) < rate).astype(float)


def test_bet_shares_sum_to_one() -> None:
    assert BET_SHARES.sum() == 1
    assert (BET_FRACTIONS < 1).all()


@pytest.mark.parametrize(("low", "high", "rate", "bound"), [(0, 1, 0.05, 0.05), (0, 1, 0.3, 0.3), (-1, 1, 0.515, 0.03)])
def test_error_rate_holds_with_an_analysis_after_every_prompt(
    low: float, high: float, rate: float, bound: float
) -> None:
    """The mean equals the bound, the hardest case: either claim is made with probability at most the level."""
    runs = low + (high - low) * coins(rate, seed=7)
    assert runs.mean() == pytest.approx(bound, abs=0.01)
    for claim in (evidence_below, evidence_above):
        wrong = np.mean([claim(run, bound, (low, high)) >= np.log(1 / LEVEL) for run in runs])
        assert wrong <= LEVEL


def test_fixed_size_intervals_exceed_their_error_rate_under_repeated_analysis() -> None:
    """The same runs, stopped at the first Wilson interval below the true rate."""
    wrong = [
        any(wilson_interval(run[:n].sum(), n, 1 - 2 * LEVEL)[1] < 0.3 for n in LOOKS) for run in coins(0.3, seed=7)
    ]
    assert np.mean(wrong) > 2 * LEVEL


def test_correlated_seeds_must_be_averaged() -> None:
    """If all seeds of a prompt agree, treating images as independent exceeds the error rate."""
    prompts = coins(0.3, seed=11)[:, :60]
    images = np.repeat(prompts, 4, axis=1)
    by_prompt, by_image = (
        np.mean([evidence_below(run, 0.3, (0.0, 1.0)) >= np.log(1 / LEVEL) for run in runs])
        for runs in (prompts, images)
    )
    assert by_prompt <= LEVEL < by_image


def test_clear_cases_need_few_prompts() -> None:
    """Zero hits against a rate of 5 %; no test at this level can need fewer prompts than n with 0.95**n = level / 2."""
    taken = next(n for n in range(200) if evidence_below(np.zeros(n), 0.05, (0.0, 1.0)) >= np.log(2 / 0.05))
    assert 72 <= taken <= 95
    assert evidence_above(np.ones(4), 0.05, (0.0, 1.0)) >= np.log(2 / 0.05)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), max_size=80), st.floats(0.5, 0.99))
def test_interval_and_evidence_agree(values: list[float], confidence: float) -> None:
    low, high = anytime_valid_interval(values, (0.0, 1.0), confidence)
    needed = np.log(2 / (1 - confidence))
    assert 0 <= low <= high <= 1
    if high < 1 - 1e-6:
        assert evidence_below(values, high + 1e-9, (0.0, 1.0)) >= needed
        assert evidence_below(values, high - 1e-6, (0.0, 1.0)) < needed
    if low > 1e-6:
        assert evidence_above(values, low - 1e-9, (0.0, 1.0)) >= needed


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_evidence_never_decreases(values: list[float]) -> None:
    evidence = [evidence_below(values[:n], 0.4, (0.0, 1.0)) for n in range(len(values) + 1)]
    assert evidence == sorted(evidence)
