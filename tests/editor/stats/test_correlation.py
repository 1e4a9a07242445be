import numpy as np
import pytest
import scipy.stats

from editor.stats.correlation import rank_correlation


def test_rank_correlation_agrees_with_scipy() -> None:
    pairs = np.random.default_rng(0).integers(0, 10, (40, 2)).astype(float)
    estimate = rank_correlation([(x, y) for x, y in pairs.tolist()])
    assert estimate.value == pytest.approx(scipy.stats.spearmanr(pairs).statistic)
    assert estimate.low <= estimate.value <= estimate.high


def test_ties_share_ranks_and_a_constant_column_has_no_correlation() -> None:
    """By hand: ranks 1, 2.5, 2.5, 4 against 1, 3, 2, 4."""
    assert rank_correlation([(0, 0), (1, 5), (1, 3), (9, 7)]).value == pytest.approx(0.9486833)
    assert rank_correlation([(1, 0), (1, 1), (1, 2)]).value == 0
