"""Grouping, compared with exhaustive search and with planted clusters, and its properties."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from editor.errors import FeatureError
from editor.features.clip.spherical_kmeans import Grouping, group_directions


def planted_clusters(sizes: list[int], noise: float, seed: int = 0) -> tuple[Tensor, Tensor, list[set[int]]]:
    """Return directions around orthogonal axes, of various lengths, their activations, and the true clusters."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.tensor([cluster for cluster, size in enumerate(sizes) for _ in range(size)])
    near = torch.eye(16)[truth] + noise * torch.randn(len(truth), 16, generator=generator)
    lengths = 0.1 + 10 * torch.rand(len(truth), 1, generator=generator)
    activations = 0.5 + torch.rand(len(truth), generator=generator)
    return near * lengths, activations, [set(torch.nonzero(truth == c).flatten().tolist()) for c in range(len(sizes))]


def search_exhaustively(directions: Tensor, activations: Tensor, threshold: float) -> Grouping | None:
    """Search all partitions: the most coherent one for each k, then the largest k that meets the threshold."""
    units, weights = F.normalize(directions.double()), activations.double() / activations.double().sum()
    best: dict[int, tuple[float, tuple[int, ...]]] = {}
    for labels in product(range(len(weights)), repeat=len(weights)):
        if list(dict.fromkeys(labels)) != sorted(set(labels)) or max(labels) + 1 != len(set(labels)):
            continue  # one name for each partition
        sums = [sum(weights[i] * units[i] for i, own in enumerate(labels) if own == c) for c in set(labels)]
        worth = sum(float(torch.as_tensor(one).norm()) for one in sums)
        best[len(sums)] = max(best.get(len(sums), (-1.0, ())), (worth, labels))
    for k in sorted(best, reverse=True):
        labels = best[k][1]
        clusters = [tuple(i for i, own in enumerate(labels) if own == c) for c in range(k)]
        masses = [float(weights[list(c)].sum()) for c in clusters]
        if min(masses) >= threshold:
            return Grouping(tuple(clusters), tuple(masses))
    return None


def as_sets(grouping: Grouping) -> set[frozenset[int]]:
    return {frozenset(members) for members in grouping.members}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("threshold", [0.05, 0.15, 0.3])
def test_grouping_matches_exhaustive_search(seed: int, threshold: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    directions, activations = torch.randn(6, 4, generator=generator), torch.rand(6, generator=generator) + 0.1
    expected = search_exhaustively(directions, activations, threshold)
    assert expected is not None
    assert as_sets(group_directions(directions, activations, threshold)) == as_sets(expected)


def test_planted_clusters_are_found_for_any_vector_length() -> None:
    directions, activations, truth = planted_clusters([5, 4, 6, 3], noise=0.05)
    found = group_directions(directions, activations, threshold=0.1)
    assert as_sets(found) == {frozenset(one) for one in truth}


def test_number_of_groups_is_the_largest_that_meets_the_threshold() -> None:
    """Ten orthogonal features: one group each, or fewer as the threshold increases."""
    directions = torch.eye(10)
    assert len(group_directions(directions, torch.ones(10), threshold=0.1)) == 10
    assert len(group_directions(directions, torch.ones(10), threshold=0.11)) <= 5
    assert len(group_directions(directions, torch.ones(10), threshold=1.0)) == 1
    assert len(group_directions(directions, torch.ones(10), threshold=0.01, max_groups=3)) == 3


@st.composite
def features(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    rows, width, seed = draw(st.integers(1, 12)), draw(st.integers(2, 8)), draw(st.integers(0, 1000))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, width, generator=generator), torch.rand(rows, generator=generator) + 0.01


@settings(max_examples=20, deadline=None)
@given(features(), st.floats(0.01, 1.0), st.floats(0.001, 1000))
def test_grouping_properties(case: tuple[Tensor, Tensor], threshold: float, scale: float) -> None:
    directions, activations = case
    found = group_directions(directions, activations, threshold)
    assert sorted(row for members in found.members for row in members) == list(range(len(activations)))
    assert sum(found.masses) == pytest.approx(1)
    assert min(found.masses) >= threshold - 1e-9
    assert list(found.masses) == sorted(found.masses, reverse=True)
    assert found == group_directions(directions, activations, threshold), "the same seed, the same groups"
    rescaled = group_directions(directions, activations * scale, threshold)
    assert as_sets(rescaled) == as_sets(found), "the threshold is a share"


@settings(max_examples=20, deadline=None)
@given(features(), st.integers(0, 1000))
def test_every_feature_is_in_its_nearest_group(case: tuple[Tensor, Tensor], seed: int) -> None:
    directions, activations = case
    found = group_directions(directions, activations, 0.05, seed=seed)
    units = F.normalize(directions.double())
    centres = F.normalize(
        torch.stack([(activations[list(m)].double()[:, None] * units[list(m)]).sum(0) for m in found.members])
    )
    for number, members in enumerate(found.members):
        nearness = units[list(members)] @ centres.T
        assert bool((nearness[:, number] >= nearness.amax(1) - 1e-9).all())


@pytest.mark.parametrize(
    ("directions", "activations", "threshold"),
    [
        (torch.zeros(2, 3), torch.ones(2), 0.1),
        (torch.eye(2), torch.tensor([1.0, 0.0]), 0.1),
        (torch.eye(2), torch.tensor([1.0, float("nan")]), 0.1),
        (torch.zeros(0, 3), torch.zeros(0), 0.1),
        (torch.eye(2), torch.ones(2), 0.0),
        (torch.eye(2), torch.ones(2), 1.1),
    ],
)
def test_invalid_features_and_thresholds_are_rejected(
    directions: Tensor, activations: Tensor, threshold: float
) -> None:
    with pytest.raises(FeatureError):
        group_directions(directions, activations, threshold)
