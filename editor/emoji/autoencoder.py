"""The autoencoder: 64 x 64 RGB <-> 8 x 8 latents of 32 channels, an ``AutoencoderTiny`` of the diffusers library."""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from editor.emoji.clip import wide_shift
from editor.emoji.samples import Pictures, random_subjects
from editor.emoji.training import Plan, autocast, train
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES

CHANNELS = 64
LATENT_CHANNELS = 32
"""With 16 the best linear code of 8 x 8 patches is off by 0.090 of a range of 2 in the mean, with 32 by 0.057."""
LATENT_NOISE = 0.05
"""Standard deviation of the noise on latents in training: the decoder must forgive what a UNet gets slightly wrong."""
PLAN = Plan(steps=3600, batch=8, shards=2, learning_rate=1.5e-3, weight_decay=0.0, averaging=0.998)


def build(seed: int) -> AutoencoderTiny:
    """No blocks at full resolution, where one costs as much as 64 at latent resolution."""
    torch.manual_seed(seed)
    model = AutoencoderTiny(
        encoder_block_out_channels=(CHANNELS,) * 4,
        decoder_block_out_channels=(CHANNELS,) * 4,
        num_encoder_blocks=(0, 1, 3, 4),
        num_decoder_blocks=(4, 3, 1, 0),
        latent_channels=LATENT_CHANNELS,
    )
    return model.to(memory_format=torch.channels_last)


def channel_statistics(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel, shaped to broadcast."""
    return latents.mean((0, 2, 3), keepdim=True), latents.std((0, 2, 3), keepdim=True)


def correlation_penalty(latents: Tensor) -> Tensor:
    """Mean squared correlation between different channels of normalised latents."""
    rows = latents.permute(0, 2, 3, 1).flatten(0, 2)
    correlation = rows.T @ rows / len(rows)
    return (correlation - torch.diag(correlation.diag())).square().mean()


def edges(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring pixels, down and right."""
    return pixels[..., 1:, :] - pixels[..., :-1, :], pixels[..., 1:] - pixels[..., :-1]


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1, L1 of the edges, and L1 at a quarter of the resolution, where flat areas are decided."""
    flat = F.l1_loss(F.avg_pool2d(output, 4), F.avg_pool2d(target, 4))
    sharp = sum(F.l1_loss(a, b) for a, b in zip(edges(output), edges(target), strict=True))
    return F.l1_loss(output, target) + sharp + flat


def train_autoencoder(folder: Path, plan: Plan = PLAN) -> AutoencoderTiny:
    """Train on composites at all shifts; returns the model with latents of zero mean and unit variance."""
    pictures, model = Pictures(), build(plan.seed)

    def loss_of(generator: torch.Generator) -> Tensor:
        target = pictures.of(random_subjects(plan.batch, generator), wide_shift(generator))
        target = target.to(memory_format=torch.channels_last)
        with autocast():
            raw = model.encoder(target).float()
            mean, deviation = channel_statistics(raw)
            latents = (raw - mean) / deviation
            noise = LATENT_NOISE * torch.randn(latents.shape, generator=generator)
            output = model.decoder(latents + noise)
        return reconstruction_loss(output.float(), target) + 0.1 * correlation_penalty(latents)

    train("autoencoder", model, plan, loss_of, folder)
    everything = random_subjects(len(OBJECT_NAMES) * len(STYLES), torch.Generator().manual_seed(plan.seed))
    normalise(model, pictures.of(everything))
    return model


@torch.no_grad()
def normalise(model: AutoencoderTiny, pixels: Tensor) -> None:
    """Fold the normalisation of the latent channels into the encoder's last convolution.

    Diffusion starts from unit noise and treats all channels alike, so it learns fastest on latents of zero mean and unit
    variance. In training the batch's own statistics do this; afterwards those of ``pixels`` stand for them.
    """
    mean, deviation = channel_statistics(model.encoder(pixels))
    last = model.encoder.layers[-1]
    last.weight.div_(deviation.reshape(-1, 1, 1, 1))
    last.bias.copy_((last.bias - mean.flatten()) / deviation.flatten())
