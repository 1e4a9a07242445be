"""Probes on codes and reconstructions, and Moran's I: planted cases, and reference implementations."""

from itertools import product

import pytest
import torch

from editor.features.linear_probe import fit_probe
from editor.features.sae import SparseAutoencoder
from editor.features.sae.concept_metrics import concept_metrics_if_enough, encode_images
from editor.features.sae.metrics import mean_morans_i, morans_i
from editor.features.sae.sparse_probing import (
    absorption,
    anova_f,
    best_threshold,
    f1_score,
    normalized_area,
    preserved_accuracy,
    probing_curve,
)

LABELS = [f"{n % 6}" for n in range(240)]
CLASSES = torch.arange(240) % 6
TRAIN = torch.arange(240) < 120
PARENTS = {f"{n}": "even" if n % 2 == 0 else "odd" for n in range(6)}


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def planted_codes(own: int = 1) -> torch.Tensor:
    """Return ``own`` latents per class, each active in a different part of its rows, followed by thirty of noise."""
    noise = 0.1 * random(240, 30).abs()
    share = (torch.arange(240) // 6) % own
    planted = [(c == CLASSES) & (share == part) for c, part in product(range(6), range(own))]
    return torch.cat([torch.stack(planted, 1).float(), noise], 1)


def test_anova_f_matches_the_definition():
    values, classes = random(30, 2), torch.arange(30) % 3
    groups = [values[classes == c].double() for c in range(3)]
    mean = values.double().mean(0)
    between = sum(len(own) * (own.mean(0) - mean).square() for own in groups) / 2
    within = sum((own - own.mean(0)).square().sum(0) for own in groups) / 27
    torch.testing.assert_close(anova_f(values, classes), between / within)
    assert anova_f(torch.ones(6, 1), torch.arange(6) % 2).item() == 0
    assert anova_f((torch.arange(6) % 2)[:, None].float(), torch.arange(6) % 2).item() == float("inf")


def test_probing_curve_rises_until_every_class_has_its_latent():
    curve = probing_curve(planted_codes(), LABELS, TRAIN, sizes=(1, 3, 6, 20, 50))
    assert list(curve.accuracy) == [1, 3, 6, 20]
    assert curve.accuracy[1] == pytest.approx(2 / 6, abs=0.02)
    assert curve.accuracy[3] == pytest.approx(4 / 6, abs=0.02)
    assert curve.accuracy[6] == curve.accuracy[20] == 1
    assert curve.accuracy[3] < curve.area < 1


def test_area_is_over_the_logarithm_of_size():
    assert normalized_area({1: 0.0, 10: 1.0, 100: 1.0}) == pytest.approx(0.75)
    assert normalized_area({4: 0.3}) == 0.3


def test_probing_curve_is_measured_on_test_rows():
    noise = random(240, 100)
    assert probing_curve(noise, LABELS, TRAIN, sizes=(100,)).accuracy[100] < 0.35


def test_preserved_accuracy_of_perfect_and_mean_reconstructions():
    rows = torch.nn.functional.one_hot(CLASSES, 8).float() + 0.3 * random(240, 8)
    probe = fit_probe(rows, LABELS)
    same = preserved_accuracy(probe, rows, rows, LABELS)
    assert (same.rebuilt, same.loss_recovered) == (same.accuracy, 1)
    nothing = preserved_accuracy(probe, rows, rows.mean(0).expand_as(rows), LABELS)
    assert nothing.loss_recovered == 0
    assert nothing.rebuilt == pytest.approx(1 / 6)
    half = preserved_accuracy(probe, rows, (rows + rows.mean(0)) / 2, LABELS)
    assert 0 < half.loss_recovered < 1


def test_class_with_its_own_latent_is_not_absorbed():
    found = absorption(planted_codes(), LABELS, PARENTS, TRAIN)
    assert set(found) == set("012345")
    assert all(one.f1_one == 1 and one.gap == 0 for one in found.values())


def test_class_split_over_four_latents_has_a_gap():
    found = absorption(planted_codes(own=4), LABELS, PARENTS, TRAIN)
    for one in found.values():
        assert one.f1_few == 1
        assert one.gap == pytest.approx(1 - 2 * 0.25 / 1.25, abs=0.05)


def test_siblings_that_share_latents_overlap():
    """All even classes share ten latents, all odd classes another ten."""
    even = (CLASSES % 2 == 0)[:, None]
    shared = torch.cat([even.float() + 0.1 * random(240, 10), (~even).float() + 0.1 * random(240, 10, seed=1)], 1)
    found = absorption(torch.cat([shared, 0.1 * random(240, 30, seed=2)], 1), LABELS, PARENTS, TRAIN)
    apart = absorption(random(240, 300, seed=3), LABELS, PARENTS, TRAIN)
    assert min(one.jaccard for one in found.values()) > 0.3 > max(one.jaccard for one in apart.values())


def test_classes_without_siblings_are_skipped():
    assert absorption(planted_codes(), LABELS, {name: name for name in PARENTS}, TRAIN) == {}


def test_best_threshold_maximizes_f1():
    scores, positive = random(50).round(decimals=1), random(50, seed=1) > 0.8
    found = f1_score(scores >= best_threshold(scores, positive), positive)
    assert found == max(f1_score(scores >= cut, positive) for cut in scores)


def reference_morans_i(grid: torch.Tensor) -> float:
    height, width = grid.shape
    places, x = list(product(range(height), range(width))), grid.double() - grid.double().mean()
    pairs = [(a, b) for a in places for b in places if a != b and max(abs(a[0] - b[0]), abs(a[1] - b[1])) == 1]
    return float(len(places) / len(pairs) * sum(x[a] * x[b] for a, b in pairs) / x.square().sum())


def test_morans_i_matches_the_definition():
    maps = random(3, 4, 5)
    assert morans_i(maps).tolist() == pytest.approx([reference_morans_i(own) for own in maps])


def test_morans_i_of_a_blob_a_checkerboard_and_a_constant():
    blob, board = torch.zeros(8, 8), (torch.arange(8)[:, None] + torch.arange(8)) % 2
    blob[2:5, 3:6] = 1
    maps = torch.stack([blob, board.float(), torch.full((8, 8), 0.1)])
    found = morans_i(maps)
    assert found[0] > 0.5
    assert found[1] < 0
    assert found[2].isnan()


def test_morans_i_of_random_values():
    assert morans_i(random(20_000, 3, 3)).mean() == pytest.approx(-1 / 8, abs=0.005)


def positive_part_autoencoder(width: int) -> SparseAutoencoder:
    """Return an autoencoder whose latents are the positive parts of the dimensions and one dead latent."""
    sae = SparseAutoencoder(width, width + 1, k=width)
    with torch.no_grad():
        sae.encoder[:width] = sae.decoder[:width] = torch.eye(width)
    return sae


def test_mean_morans_i_averages_the_maps_of_a_latent():
    maps = random(3, 2, 6, 5)
    found = mean_morans_i(positive_part_autoencoder(2), maps.flatten(2).transpose(1, 2).flatten(0, 1), (6, 5))
    torch.testing.assert_close(found[:2], torch.stack([morans_i(maps[:, c].relu()).mean() for c in range(2)]))
    assert found[2].isnan()


def test_images_are_encoded_by_means_and_maxima_over_positions():
    rows = random(10 * 4, 3).abs()
    found = encode_images(positive_part_autoencoder(3), rows, 4, torch.arange(10) < 3)
    torch.testing.assert_close(found.rows, rows.view(10, 4, 3).mean(1))
    torch.testing.assert_close(found.reconstructed, found.rows)
    torch.testing.assert_close(found.codes[:, :3], rows.view(10, 4, 3).amax(1))
    torch.testing.assert_close(found.pre_activations[:, :3], found.rows)


def test_labels_in_one_half_only_are_skipped():
    rows = torch.cat([torch.nn.functional.one_hot(torch.arange(20) % 2, 2).float(), random(2, 2)])
    images = encode_images(positive_part_autoencoder(2), rows, 1, torch.arange(22) % 4 < 2)
    found = concept_metrics_if_enough(images, [*("ab"[n % 2] for n in range(20)), "c", "d"])
    assert found is not None
    assert set(found["best"]) == {"a", "b"}
    assert found["auc"]["value"] == found["preserved"]["rebuilt"] == 1
    assert concept_metrics_if_enough(images, [str(n) for n in range(22)]) is None
