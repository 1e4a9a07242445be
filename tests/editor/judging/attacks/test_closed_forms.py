"""The parts of attacks that need no model."""

import numpy as np
import pytest
import torch

from editor.judging.attacks.adversarial_key import RIDGE_SHARE, adversarial_keys, relative_distance
from editor.judging.attacks.concept_discriminant import fisher_discriminant, summarize_states
from editor.judging.attacks.genetic_search import GeneticParameters, evolve
from editor.stats.intervals import hit_rate

ALPHABET = torch.arange(100, 140)
SECRET = torch.tensor([103, 139, 111, 120, 100])


def differing(genomes: torch.Tensor) -> torch.Tensor:
    return (genomes != SECRET).sum(1).double()


def test_a_search_finds_a_planted_sequence() -> None:
    genomes, losses = evolve(
        differing, ALPHABET, 5, 300, GeneticParameters(population=60), torch.Generator().manual_seed(0)
    )  # fmt: skip
    assert losses[0] == 0
    assert torch.equal(genomes[0], SECRET)
    assert torch.isin(genomes, ALPHABET).all()


def test_a_longer_search_is_never_worse_and_is_reproducible() -> None:
    def best(generations: int) -> float:
        generator = torch.Generator().manual_seed(4)
        return float(evolve(differing, ALPHABET, 5, generations, GeneticParameters(population=20), generator)[1][0])

    found = [best(generations) for generations in (1, 5, 20, 60)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < found[0]
    assert best(20) == found[2]


def test_forbidden_genomes_do_not_survive() -> None:
    def score(genomes: torch.Tensor) -> torch.Tensor:
        return differing(genomes).masked_fill((genomes == 103).any(1), torch.inf)

    genomes, losses = evolve(
        score, ALPHABET, 5, 200, GeneticParameters(population=40), torch.Generator().manual_seed(0)
    )
    assert losses.min() == 1
    assert not (genomes[losses.isfinite()] == 103).any()


def test_the_adversarial_key_solves_its_least_squares_problem() -> None:
    rng = torch.Generator().manual_seed(0)
    base, edited = torch.randn(2, 12, 12, generator=rng, dtype=torch.float64)
    keys = torch.randn(5, 12, generator=rng, dtype=torch.float64)
    ridge = RIDGE_SHARE * float((edited**2).sum()) / 12
    stacked = np.concatenate([edited.numpy(), np.sqrt(ridge) * np.eye(12)])
    wanted = np.concatenate([(keys @ base.T).numpy().T, np.zeros((12, 5))])
    expected = np.linalg.lstsq(stacked, wanted, rcond=None)[0].T
    assert np.allclose(adversarial_keys(base, edited, keys).numpy(), expected, atol=1e-9)


def test_a_free_key_restores_the_value_unless_the_edit_is_singular() -> None:
    rng = torch.Generator().manual_seed(1)
    base = torch.linalg.qr(torch.randn(12, 12, generator=rng, dtype=torch.float64))[0]
    keys = torch.randn(4, 12, generator=rng, dtype=torch.float64)
    turned = torch.linalg.qr(torch.randn(12, 12, generator=rng, dtype=torch.float64))[0]
    assert relative_distance(adversarial_keys(base, turned, keys) @ turned.T, keys @ base.T).max() < 0.01
    value = torch.nn.functional.normalize(base @ keys[0], dim=0)
    without = base - torch.outer(value, value @ base)
    assert relative_distance(adversarial_keys(base, without, keys[:1]) @ without.T, keys[:1] @ base.T).min() > 0.99


def test_the_discriminant_ignores_directions_of_large_variance() -> None:
    rng = torch.Generator().manual_seed(2)
    strong = 5 * torch.randn(200, 1, generator=rng, dtype=torch.float64)
    rows = torch.cat([strong, 0.1 * torch.randn(200, 5, generator=rng, dtype=torch.float64)], dim=1)
    rows[:100, 3] += 1
    weights, bias = fisher_discriminant(rows[:100], rows[100:])
    scores = rows @ weights + bias
    assert (scores[:100].mean(), scores[100:].mean()) == (pytest.approx(1), pytest.approx(0, abs=1e-9))
    assert (scores[:100] > 0.5).double().mean() > 0.97
    assert weights[0].abs() < 0.03 * weights[3].abs()


def test_a_summary_is_the_eos_state_and_the_mean_of_the_padding() -> None:
    ids = torch.tensor([[0, 5, 9, 9, 9], [0, 5, 6, 7, 9]])
    states = torch.arange(10.0).reshape(2, 5, 1)
    assert summarize_states(states, ids, 9).tolist() == [[2, 3.5], [9, 0]]


@pytest.mark.parametrize(
    ("hits", "n", "low", "high"), [(0, 10, 0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)]
)
def test_wilson_intervals_match_published_values(hits: int, n: int, low: float, high: float) -> None:
    """The last is Newcombe's example (1998, table I)."""
    found = hit_rate([True] * hits + [False] * (n - hits))
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
