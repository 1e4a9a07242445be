"""Ranks, AUC and corrected p-values against slower computations and planted cases."""

import pytest
import torch

from editor.stats.auc import Ranking, auc, benjamini_hochberg, best_latent, delong_interval
from editor.stats.ranks import average_ranks


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_tied_values_share_their_mean_rank() -> None:
    assert average_ranks(torch.tensor([[3.0], [1.0], [3.0], [2.0]])).flatten().tolist() == [3.5, 1, 3.5, 2]


def test_auc_is_the_share_of_ordered_pairs() -> None:
    scores = random(40, 3).round(decimals=1)
    positive = random(40, seed=2) > 0.5
    high, low = scores[positive][:, None], scores[~positive][None]
    pairs = ((high > low).double() + 0.5 * (high == low).double()).mean((0, 1))
    torch.testing.assert_close(auc(scores, positive), pairs)


def test_delong_intervals_cover_the_true_auc_at_the_stated_rate() -> None:
    """Two normals at distance 1 have AUC Phi(1 / sqrt 2) = 0.760; 95 % of 400 intervals should contain it, +-4 %."""
    truth = torch.special.ndtr(torch.tensor(0.5**0.5)).item()
    positive = torch.arange(80) < 40
    covered = 0
    for seed in range(400):
        found = delong_interval(random(80, seed=seed) + positive, positive)
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / 400 <= 0.99


def test_a_perfect_separation_has_an_interval_of_positive_width() -> None:
    positive = torch.arange(20) < 5
    found = delong_interval(positive.float(), positive)
    assert found.value == 1
    assert found.high == 1
    assert found.low == pytest.approx(5 / (5 + 1.96**2), abs=1e-3)


def test_p_values_are_uniform_under_the_null_and_small_for_the_planted_latent() -> None:
    positive = torch.arange(60) < 20
    scores = random(60, 400)
    p = Ranking.of(scores).p_values(positive)
    assert 0.02 < (p < 0.05).double().mean() < 0.09
    scores[:, 7] += 2 * positive
    q = benjamini_hochberg(Ranking.of(scores).p_values(positive))
    assert q.argmin() == 7
    assert (q < 0.05).sum() <= 2


def test_benjamini_hochberg_matches_its_definition() -> None:
    p = torch.tensor([0.03, 0.01, 0.5, 0.02], dtype=torch.float64)
    torch.testing.assert_close(benjamini_hochberg(p), torch.tensor([0.04, 0.04, 0.5, 0.04], dtype=torch.float64))


def test_the_best_latent_is_chosen_and_measured_on_different_halves() -> None:
    """The best of 300 noise latents looks good on the half it was chosen on and is at chance on the other."""
    positive, train = torch.arange(80) % 2 == 0, torch.arange(80) < 40
    best = best_latent(random(80, 300), positive, train)
    assert best.train > 0.7
    assert best.test.low < 0.5
    assert best.q_value > 0.05
