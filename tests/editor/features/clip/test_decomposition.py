"""Decomposition, steering and labelling, with an autoencoder with random weights."""

import pytest
import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.clip.decomposition import base_embedding, decompose
from editor.features.clip.direction_labels import LabelledEmbeddings, nearest_text
from editor.features.clip.steering import add_scaled, group_embedding, latent_vector
from editor.features.sae import SparseAutoencoder

WIDTH, LATENTS = 12, 40


@pytest.fixture
def sae() -> SparseAutoencoder:
    torch.manual_seed(0)
    made = SparseAutoencoder(WIDTH, LATENTS, 6)
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.normal_()
        made.scale.fill_(0.3)
    return made.eval()


@pytest.fixture
def embedding() -> Tensor:
    return 5 * torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))


def test_decomposition_is_the_code_strongest_first(sae: SparseAutoencoder, embedding: Tensor) -> None:
    parts, code = decompose(sae, embedding), sae.encode(embedding[None])[0]
    assert set(parts.latents.tolist()) == set(torch.nonzero(code).flatten().tolist())
    assert parts.activations.tolist() == sorted(code[code > 0].tolist(), reverse=True)
    whole = base_embedding(sae, LATENTS) + parts.contribution(range(len(parts.latents)))
    torch.testing.assert_close(whole, sae.decode(code[None])[0], rtol=1e-4, atol=1e-4)


def test_steering_preserves_the_reconstruction_error(sae: SparseAutoencoder, embedding: Tensor) -> None:
    found = group_embedding(sae, embedding, threshold=0.2)
    scales = [2.0, *[0.5] * (len(found.grouping) - 1)]
    code = sae.encode(embedding[None])
    scaled = code.clone()
    for members, scale in zip(found.grouping.members, scales, strict=True):
        scaled[0, found.decomposition.latents[list(members)]] *= scale
    with torch.no_grad():
        expected = sae.decode(scaled)[0] + (embedding - sae.decode(code)[0])
    torch.testing.assert_close(found.steer(scales), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, embedding, atol=0.1)
    torch.testing.assert_close(found.steer([1.0] * len(scales)), embedding)


def test_removing_and_restoring_a_group_gives_the_embedding(sae: SparseAutoencoder, embedding: Tensor) -> None:
    found = group_embedding(sae, embedding, threshold=0.2)
    without = found.steer([0.0, *[1.0] * (len(found.grouping) - 1)])
    raised = add_scaled(found.group_vector(0), without, (0.0, 1.0))
    torch.testing.assert_close(raised[1], embedding, rtol=1e-4, atol=1e-4)


def test_latent_vector(sae: SparseAutoencoder) -> None:
    expected = 3 * sae.decoder[7].detach() / 0.3
    torch.testing.assert_close(latent_vector(sae, 7, LATENTS, 3.0), expected, rtol=1e-4, atol=1e-4)


def test_embedding_without_active_latents_is_rejected(sae: SparseAutoencoder, embedding: Tensor) -> None:
    with torch.no_grad():
        sae.latent_bias.fill_(-1e6)
    with pytest.raises(FeatureError):
        group_embedding(sae, embedding)


def test_direction_is_labelled_by_images_and_by_texts() -> None:
    """Each label has its own axis; half of the images choose the label, the other half measure it."""
    generator = torch.Generator().manual_seed(2)
    axes = torch.eye(8)[:4]
    labels = ["fox", "owl", "sun", "key"] * 25
    rows = 3 * axes.repeat(25, 1) + torch.randn(100, 8, generator=generator)
    labelled = LabelledEmbeddings(
        rows, {"object": labels, "noise": ["a", "a", "b", "b", "a"] * 20}, torch.arange(100) < 50
    )
    named = labelled.best_label(axes[2] + 0.2 * axes[1])
    assert (named.kind, named.name) == ("object", "sun")
    assert named.test_auc.value > 0.9
    assert named.test_auc.low < named.test_auc.value <= named.test_auc.high
    common = 10 * torch.ones(8)
    texts = {name: common + axis for name, axis in zip(labels[:4], axes, strict=True)}
    assert nearest_text(axes[3] + 0.2 * axes[0], texts) == "key"
    assert nearest_text(axes[3], {}) == ""
