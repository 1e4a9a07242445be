"""Activations for given images, noised to a timestep, in one forward pass: Revelio's protocol (Kim et al. 2025, section 3).

There is no denoising loop and, by default, no prompt. An edit of the text encoder therefore has no effect: the activations
show what the backbone itself represents.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editor.features.activations.backbone_inputs import run_backbone
from editor.features.activations.hooks import backbone_of, capture
from editor.features.activations.recorder import StoreKey, module_digest, tensor_digest
from editor.generation.config import Image, Precision
from editor.generation.module_device import autocast, to_module
from editor.io.progress import checked


@torch.no_grad()
def encode_pixels(pipeline: Any, pixels: Tensor, batch_size: int = 64) -> Tensor:
    """Encode ``(n, 3, height, width)`` pixels in [-1, 1] as the latents that the backbone works on.

    The mode of the VAE's posterior is used, so the result is deterministic. It is in float32, on the VAE's device.
    """
    config = pipeline.vae.config
    shift, scale = getattr(config, "shift_factor", None) or 0.0, float(config.scaling_factor)
    parts = (to_module(pipeline.vae, part) for part in checked(torch.split(pixels, batch_size)))
    return torch.cat([(posterior_mode(pipeline.vae, part).float() - shift) * scale for part in parts])


def posterior_mode(vae: Any, pixels: Tensor) -> Tensor:
    """Return the VAE's latents of ``(b, 3, height, width)`` pixels, unscaled and without sampling."""
    output = vae.encode(pixels)
    if hasattr(output, "latent_dist"):
        mode: Tensor = output.latent_dist.mode()
        return mode
    latents: Tensor = output.latent if hasattr(output, "latent") else output.latents
    return latents


def encode_images(pipeline: Any, images: Sequence[Image]) -> Tensor:
    """Encode ``(height, width, 3)`` uint8 images of one size as latents ``(n, c, h, w)``."""
    return encode_pixels(pipeline, torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1)


def add_noise(pipeline: Any, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
    """Noise latents to a timestep: ``sqrt(a) x + sqrt(1 - a) e``, or linear interpolation for flow matching (SD3, FLUX).

    Schedulers that are set up for a few steps reject all other timesteps, so their ``add_noise`` is not used.
    """
    alphas = getattr(pipeline.scheduler, "alphas_cumprod", None)
    if alphas is None:
        sigma = timestep / int(pipeline.scheduler.config.num_train_timesteps)
        return (1 - sigma) * latents + sigma * noise
    alpha: Tensor = alphas[timestep].to(latents)
    return alpha.sqrt() * latents + (1 - alpha).sqrt() * noise


def seeded_noise(shape: Sequence[int], seed: int, items: Sequence[int]) -> Tensor:
    """Return noise ``(items, *shape)``; the noise of an item depends only on the seed and on its index."""
    generators = (torch.Generator().manual_seed(seed * 1_000_003 + item) for item in items)
    return torch.stack([torch.randn(tuple(shape), generator=generator) for generator in generators])


def activations_at_timestep(
    pipeline: Any,
    latents: Tensor,
    noise: Tensor,
    timestep: int,
    modules: Sequence[str],
    prompts: Sequence[str] | None = None,
    precision: Precision = "float32",
) -> dict[str, Tensor]:
    """Capture modules for latents ``(b, c, h, w)`` noised to a timestep; by default with the empty prompt.

    Returns:
        Module name -> ``(b, channels, height, width)`` float32.
    """
    with capture(pipeline, modules) as maps, autocast(backbone_of(pipeline), precision):
        run_backbone(pipeline, add_noise(pipeline, latents, noise, timestep), timestep, prompts or [""] * len(latents))
    return {name: states.float() for name, states in maps.items()}


@dataclass(frozen=True)
class NoisedImages:
    """An activation source: every image at every timestep, with different noise for each timestep."""

    pipeline: Any
    latents: Tensor
    """``(images, c, h, w)``, from ``encode_pixels``."""
    modules: Sequence[str]
    timesteps: Sequence[int]
    seed: int = 0
    prompts: Sequence[str] | None = None
    """One per image; None: all empty."""
    precision: Precision = "float32"

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that the activations depend on."""
        texts = [getattr(self.pipeline, "text_encoder", None)] if self.prompts else []
        return {
            "protocol": "noised images",
            "model": module_digest(backbone_of(self.pipeline), *filter(None, texts)),
            "latents": tensor_digest(self.latents),
            "modules": list(self.modules),
            "timesteps": list(self.timesteps),
            "seed": self.seed,
            "prompts": list(self.prompts) if self.prompts else "",
            "precision": self.precision,
        }

    def maps(self, items: range) -> Mapping[StoreKey, Tensor]:
        """Capture the images with these indices."""
        latents, prompts = self.latents[items.start : items.stop], self.prompts and [self.prompts[i] for i in items]
        captured: dict[StoreKey, Tensor] = {}
        for timestep in self.timesteps:
            noise = seeded_noise(latents.shape[1:], self.seed * 1000 + timestep, items).to(latents)
            maps = activations_at_timestep(
                self.pipeline, latents, noise, timestep, self.modules, prompts, self.precision
            )
            captured |= {(name, timestep): states for name, states in maps.items()}
        return captured
