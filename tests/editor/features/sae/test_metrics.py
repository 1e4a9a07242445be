"""Metrics of autoencoders: planted cases, and reference implementations."""

import pytest
import torch
import torch.nn.functional as F

from editor.features.sae import SaeConfig, SparseAutoencoder, train_sae
from editor.features.sae.label_purity import index_labels, latent_purity, sigma_label
from editor.features.sae.metrics import (
    density_histogram,
    mean_pairwise_cosine,
    monosemanticity,
    reconstruction_metrics,
    recovered_share,
    stability,
)
from editor.features.sae.toy_superposition import ToySuperposition


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def identity_autoencoder(width: int = 4) -> SparseAutoencoder:
    """Return an autoencoder whose latents are the positive and negative parts of the dimensions and two dead ones."""
    sae = SparseAutoencoder(width, 2 * width + 2, k=width)
    with torch.no_grad():
        both = torch.cat([torch.eye(width), -torch.eye(width), torch.zeros(2, width)])
        sae.encoder.copy_(both)
        sae.decoder.copy_(both)
        sae.mean.fill_(10.0)
        sae.scale.fill_(2.0)
    return sae


def test_perfect_autoencoder_has_zero_fvu():
    found = reconstruction_metrics(identity_autoencoder(), 10 + random(500, 4))
    assert found.fvu < 1e-10
    assert found.cosine == pytest.approx(1)
    assert found.l0 == pytest.approx(4)
    assert found.dead == pytest.approx(0.2)
    assert found.dense == pytest.approx(0.8)
    assert sum(found.density[:8]) == pytest.approx(4)


def test_autoencoder_that_returns_the_mean_has_fvu_one():
    sae = identity_autoencoder()
    with torch.no_grad():
        sae.decoder.zero_()
    assert reconstruction_metrics(sae, 10 + random(100, 4)).fvu == pytest.approx(1)


def test_fvu_is_relative_to_the_mean_of_the_training_rows():
    rows = torch.full((10, 4), 12.0)
    sae = identity_autoencoder()
    with torch.no_grad():
        sae.decoder.mul_(0.5)
    assert reconstruction_metrics(sae, rows).fvu == pytest.approx(0.25)
    assert reconstruction_metrics(sae, rows, mean=torch.full((4,), 11.5)).fvu == pytest.approx(4)


def test_density_histogram_excludes_dead_latents():
    counts, edges = density_histogram([0.0, 0.01, 0.01, 1.0], rows=100, bins=2)
    assert counts == [2, 1]
    assert edges == pytest.approx([-2, -1, 0])


def test_recovered_share_and_stability_ignore_order():
    truth = F.normalize(random(20, 16))
    assert recovered_share(truth[torch.randperm(20)] * 3, truth) == 1
    assert recovered_share(truth[:5], truth) == pytest.approx(0.25)
    assert stability(truth, [truth.flip(0), truth[:10], truth])[:10].min() > 0.999
    assert stability(truth, [truth[:10]])[10:].max() < 0.999


def test_monosemanticity_is_the_mean_over_pairs():
    activations, embeddings = random(30, 5).abs(), random(30, 8, seed=1)
    unit = F.normalize(embeddings.double())
    weights = ((activations - activations.amin(0)) / (activations.amax(0) - activations.amin(0))).double()
    pairs = torch.combinations(torch.arange(30), 2)
    weight = weights[pairs[:, 0]] * weights[pairs[:, 1]]
    cosine = (unit[pairs[:, 0]] * unit[pairs[:, 1]]).sum(1, keepdim=True)
    torch.testing.assert_close(monosemanticity(activations, embeddings), (weight * cosine).sum(0) / weight.sum(0))
    assert mean_pairwise_cosine(embeddings) == pytest.approx(cosine.mean().item())


def test_monosemanticity_of_a_single_image_is_nan():
    activations = torch.zeros(10, 1)
    activations[3] = 1
    assert monosemanticity(activations, random(10, 4)).isnan().all()


def test_purity_does_not_depend_on_the_class_numbering():
    labels, names = index_labels([f"class {n % 5}" for n in range(200)])
    activations = random(200, 40).abs()
    activations[:, 0] += 5 * (labels == 3)
    found = latent_purity(activations, labels)
    assert (found.purity[0], found.entropy[0], names[found.label[0]]) == (1, 0, "class 3")
    assert found.p_value[0] < 0.01
    assert (found.p_value[1:] < 0.05).double().mean() < 0.15
    shuffled = latent_purity(activations, torch.tensor([4, 2, 0, 1, 3])[labels])
    torch.testing.assert_close(shuffled.purity, found.purity)
    torch.testing.assert_close(shuffled.entropy, found.entropy)


def test_sigma_label_matches_revelio():
    """Compare with Revelio's procedure, latent by latent."""
    pre, labels = random(60, 30), torch.randint(0, 9, (60,), generator=torch.Generator().manual_seed(3))
    pre[:, :5] -= 3
    ranked = []
    for latent in range(30):
        active = pre[:, latent].relu()
        positive = int((active > 0).sum())
        if positive > 10:
            top = active.argsort(descending=True)[:10]
            ranked.append((float(active.sum()) / positive, float(labels[top].float().std())))
    ranked.sort(reverse=True)
    for count in (10, 1000):
        kept = [sigma for _, sigma in ranked[:count]]
        assert sigma_label(pre, labels, min(count, len(ranked))) == pytest.approx(sum(kept) / len(kept), rel=1e-5)


def test_held_out_fvu_shows_overfitting():
    """With more latents than rows, the training FVU is near zero and the held-out FVU is not."""
    world = ToySuperposition(width=16, directions=40, active=4)
    rows = world.rows(60)
    sae = train_sae(rows, SaeConfig(latents=128, k=6, steps=800, batch=60), quiet=True).sae
    seen, unseen = reconstruction_metrics(sae, rows).fvu, reconstruction_metrics(sae, world.rows(300, part=2)).fvu
    assert unseen > 2 * seen
