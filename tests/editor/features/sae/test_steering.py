"""Steering scales what a group of latents adds to a module's output, and nothing else."""

import pytest
import torch
from torch import Tensor, nn

from editor.errors import FeatureError
from editor.features.sae import SparseAutoencoder
from editor.features.sae.steering import steer_group

WIDTH = 6


class Pair(nn.Module):
    """Returns its input as maps, tokens, or a tuple whose first part is the image."""

    def forward(self, states: Tensor, with_skips: bool = False) -> Tensor | tuple[Tensor, str]:
        return (states, "skips") if with_skips else states


class Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = Pair()

    def forward(self, states: Tensor, with_skips: bool = False) -> Tensor | tuple[Tensor, str]:
        return self.block(states, with_skips)


def axis_autoencoder() -> SparseAutoencoder:
    """Return an autoencoder with a latent for each positive coordinate, which is read at twice its size."""
    sae = SparseAutoencoder(WIDTH, WIDTH, k=WIDTH)
    with torch.no_grad():
        sae.encoder.copy_(torch.eye(WIDTH))
        sae.decoder.copy_(torch.eye(WIDTH))
        sae.scale.fill_(2.0)
    return sae


@pytest.mark.parametrize("shape", [(2, WIDTH, 3, 4), (2, 5, WIDTH)])
def test_group_is_scaled_and_the_rest_stays(shape: tuple[int, ...]) -> None:
    backbone, states = Backbone(), torch.randn(shape, generator=torch.Generator().manual_seed(0))
    channels = 1 if len(shape) == 4 else 2
    with steer_group(backbone, "block", axis_autoencoder(), [1, 4], 3.0):
        found = backbone(states)
    factor = torch.ones(WIDTH).index_fill(0, torch.tensor([1, 4]), 3.0)
    factor = factor.view(-1, 1, 1) if channels == 1 else factor
    assert torch.allclose(found, torch.where(states > 0, states * factor, states), atol=1e-5)
    assert torch.equal(backbone(states), states), "the hook is removed"


def test_removed_and_unchanged_groups() -> None:
    backbone, states = Backbone(), torch.rand(1, WIDTH, 2, 2)
    with steer_group(backbone, "block", axis_autoencoder(), [0], 1.0):
        assert torch.allclose(backbone(states), states)
    with steer_group(backbone, "block", axis_autoencoder(), [0], 0.0):
        assert torch.allclose(backbone(states)[:, 0], torch.zeros(1, 2, 2), atol=1e-6)


def test_other_outputs_of_a_module_pass_through() -> None:
    backbone, states = Backbone(), torch.rand(1, WIDTH, 2, 2)
    with steer_group(backbone, "block", axis_autoencoder(), [0], 2.0):
        image, skips = backbone(states, with_skips=True)
    assert torch.allclose(image[:, 0], 2 * states[:, 0], atol=1e-6)
    assert skips == "skips"


def test_unknown_latents_and_modules_are_refused() -> None:
    with (
        pytest.raises(FeatureError, match="no latent 9"),
        steer_group(Backbone(), "block", axis_autoencoder(), [9], 2.0),
    ):
        pass
    with pytest.raises(FeatureError, match="no module"), steer_group(Backbone(), "blok", axis_autoencoder(), [0], 2.0):
        pass
