"""Steering: scale the activations of a group of latents while a denoiser generates images."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from editor.errors import FeatureError
from editor.features.activations.hooks import backbone_of, image_output, module_by_name, remove_on_exit
from editor.features.sae.model import SparseAutoencoder


@contextmanager
def steer_group(
    model: Any, module: str, sae: SparseAutoencoder, latents: Sequence[int], scale: float
) -> Iterator[None]:
    """Scale a group of latents at every position and step; the reconstruction error of the autoencoder is preserved.

    Args:
        model: a diffusers pipeline, or its UNet or transformer.
        module: the module whose output the autoencoder encodes.
        scale: 0 removes the group, 1 changes nothing, 2 doubles it.

    Raises:
        FeatureError: there is no such module or latent.
    """
    if unknown := [latent for latent in latents if latent >= sae.latents]:
        raise FeatureError(
            f"The autoencoder has {sae.latents} latents, and no latent {unknown[0]}.",
            field="latents",
            remedy="Name latents that the list of its features has.",
        )
    group = torch.tensor(latents)

    def scale_group(owner: nn.Module, _: Any, output: Any) -> Any:
        states = image_output(owner, output)
        return replace_image_output(owner, output, states + (scale - 1) * group_part(sae, group, states))

    with remove_on_exit(module_by_name(backbone_of(model), module).register_forward_hook(scale_group)):
        yield


@torch.no_grad()
def group_part(sae: SparseAutoencoder, group: Tensor, states: Tensor) -> Tensor:
    """Return what a group of latents adds to states: maps ``(b, c, h, w)`` or tokens ``(b, n, c)``."""
    rows = states.movedim(1, -1) if states.ndim == 4 else states
    sae.to(states.device)
    codes = sae.encode(rows.flatten(0, -2).float())[:, group]
    part = (codes @ sae.decoder[group] / sae.scale).view(rows.shape).to(states)
    return part.movedim(-1, 1) if states.ndim == 4 else part


def replace_image_output(module: nn.Module, output: Any, states: Tensor) -> Any:
    """Return a module's output with another image part, in the form that `image_output` reads."""
    if isinstance(output, Tensor):
        return states
    if hasattr(output, "sample"):
        return type(output)(sample=replace_image_output(module, output.sample, states))
    position = len(output) - 1 if type(module).__name__.endswith("TransformerBlock") else 0
    return tuple(states if i == position else part for i, part in enumerate(output))
