"""The training loss of a denoiser, for attacks that train: images with prompts, and the loss on them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor

from editor.generation.module_device import to_module
from editor.judging.attacks.context import ModelVariant


@dataclass(frozen=True)
class TrainingImages:
    """Latents ``(n, channels, height, width)`` and the token ids ``(n, length)`` of their prompts."""

    latents: Tensor
    ids: Tensor

    def sample_batch(self, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return ``size`` random pairs of latents and token ids."""
        rows = torch.randint(len(self.latents), (size,), generator=generator)
        return self.latents[rows], self.ids[rows]


def denoising_loss(variant: ModelVariant, latents: Tensor, states: Tensor, generator: torch.Generator) -> Tensor:
    """Return the denoiser's mean squared error at random timesteps, for the scheduler's prediction type."""
    scheduler = DDPMScheduler.from_config(variant.pipeline.scheduler.config)
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    times = torch.randint(scheduler.config.num_train_timesteps, (len(latents),), generator=generator).to(noise.device)
    denoiser = variant.batched_pipeline.denoiser
    noisy = to_module(denoiser.backbone, scheduler.add_noise(latents, noise, times))
    with denoiser.autocast():
        given = noisy.contiguous(memory_format=torch.channels_last)
        predicted = denoiser.backbone(given, times, to_module(denoiser.backbone, states)).sample
    velocity = scheduler.config.prediction_type == "v_prediction"
    return F.mse_loss(predicted.float(), scheduler.get_velocity(latents, noise, times) if velocity else noise)
