"""Train the autoencoder, 64 x 64 RGB <-> 8 x 8 latents of 32 channels, an ``AutoencoderTiny`` of diffusers.

Step of ``python -m research.emoji.build``. The encoder is not trained: it is the best linear code of 8 x 8 patches (PCA),
written exactly into strided convolutions. Its latents are decorrelated, on which diffusion learns fastest, and the UNet can
be trained without waiting for the decoder. Only the decoder is trained, to sharpen what a linear inverse would blur.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from editor.emoji.composites import Artwork
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from research.emoji.random_subjects import random_subjects
from research.emoji.train_clip import random_wide_shift
from research.emoji.training_loop import TrainingPlan, autocast, train

CHANNELS = 64
LATENT_CHANNELS = 32
"""The mean error of the best linear code of 8 x 8 patches, in a range of 2, is 0.090 with 16 channels and 0.057 with 32."""
SCALING = 2.5
"""The pipeline's latent scaling: the decoder clamps at 3 and needs small latents, the UNet needs unit variance."""
EQUALISING_EXPONENT = 0.3
"""A latent channel's deviation is its component's to this power. 0 would whiten, and give noise the weight of outlines."""
LATENT_NOISE = 0.12
"""Deviation of the noise on unit latents in training, which makes the decoder robust to the UNet's errors."""
PLAN = TrainingPlan(steps=2600, batch=8, shards=2, learning_rate=1e-3, weight_decay=0.0, averaging=0.998)


def build_autoencoder(seed: int) -> AutoencoderTiny:
    """Return a linear encoder and a decoder without blocks at full resolution, each of which would cost 64 times as much."""
    torch.manual_seed(seed)
    model = AutoencoderTiny(
        encoder_block_out_channels=(CHANNELS,) * 4,
        decoder_block_out_channels=(CHANNELS,) * 4,
        num_encoder_blocks=(0, 0, 0, 0),
        num_decoder_blocks=(4, 4, 2, 0),
        latent_channels=LATENT_CHANNELS,
        scaling_factor=SCALING,
    )
    return model.to(memory_format=torch.channels_last)


def principal_components(pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the PCA of 8 x 8 patches of ``(n, 3, h, w)`` images in [0, 1]: mean, components ``(32, 192)``, deviations."""
    patches = F.unfold(pixels, 8, stride=8).transpose(1, 2).reshape(-1, 192).double()
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    top = slice(-LATENT_CHANNELS, None)
    return mean, vectors.T[top].flip(0), values[top].flip(0).sqrt()


@torch.no_grad()
def write_encoder(model: AutoencoderTiny, pixels: Tensor) -> None:
    """Write the linear code into the encoder: two strided convolutions collect 4 x 4 blocks, the third projects four of them.

    Args:
        pixels: ``(n, 3, h, w)`` in [-1, 1] to fit the code on.
    """
    mean, components, deviations = principal_components((pixels + 1) / 2)
    wanted = deviations**EQUALISING_EXPONENT
    scale = wanted / wanted.square().mean().sqrt() / deviations / SCALING
    code = components * scale[:, None]
    first, *strided, last = model.encoder.layers
    for layer in model.encoder.layers:
        layer.weight.zero_()
    first.bias.zero_()
    first.weight[range(3), range(3), 1, 1] = 1
    write_block_kernel(strided[0], 3)
    write_block_kernel(strided[1], 12)
    strided[2].weight[:LATENT_CHANNELS, :48, 1:, 1:] = code_to_kernel(code)
    last.weight[range(LATENT_CHANNELS), range(LATENT_CHANNELS), 1, 1] = 1
    last.bias.copy_(-(code @ mean))


def write_block_kernel(layer: torch.nn.Conv2d, channels: int) -> None:
    """Write a convolution that stacks each 2 x 2 block: output channel ``4 c + 2 down + right`` is input channel ``c``."""
    for c in range(channels):
        for place in range(4):
            layer.weight[4 * c + place, c, 1 + place // 2, 1 + place % 2] = 1


def code_to_kernel(code: Tensor) -> Tensor:
    """Convert the code of patches ``(k, 192)``, channel by row by column, to a 2 x 2 kernel ``(k, 48, 2, 2)`` over blocks.

    A stacked channel is ``16 colour + 8 d1 + 4 r1 + ...``: colour, then (down, right) at the finest scale, then the next.
    """
    k = len(code)
    split = code.reshape(k, 3, 2, 2, 2, 2, 2, 2)  # colour, down at scales 4, 2, 1, right at scales 4, 2, 1
    return split.permute(0, 1, 4, 7, 3, 6, 2, 5).reshape(k, 48, 2, 2).float()


def pixel_differences(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences of neighbouring pixels, down and right."""
    return pixels[..., 1:, :] - pixels[..., :-1, :], pixels[..., 1:] - pixels[..., :-1]


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """Return L1 plus L1 of the edges plus L1 at a quarter of the resolution, which decides flat areas."""
    flat = F.l1_loss(F.avg_pool2d(output, 4), F.avg_pool2d(target, 4))
    sharp = sum(F.l1_loss(a, b) for a, b in zip(pixel_differences(output), pixel_differences(target), strict=True))
    return F.l1_loss(output, target) + sharp + flat


def build_with_pca_encoder(seed: int) -> AutoencoderTiny:
    """Return the model with its PCA encoder and a random decoder."""
    model = build_autoencoder(seed)
    everything = random_subjects(len(OBJECT_NAMES) * len(STYLES), torch.Generator().manual_seed(seed))
    write_encoder(model, Artwork().render(everything))
    model.encoder.requires_grad_(False)
    return model


def occasional_shift(generator: torch.Generator) -> tuple[int, int]:
    """Draw no shift for three of four batches, else a wide one."""
    return random_wide_shift(generator) if torch.rand((), generator=generator) < 0.25 else (0, 0)


def train_autoencoder(folder: Path, plan: TrainingPlan = PLAN) -> AutoencoderTiny:
    """Train the decoder on composites, most of them without shift, as the denoiser generates them."""
    pictures, model = Artwork(), build_with_pca_encoder(plan.seed)

    def loss_of(generator: torch.Generator) -> Tensor:
        target = pictures.render(random_subjects(plan.batch, generator), occasional_shift(generator))
        target = target.to(memory_format=torch.channels_last)
        with torch.no_grad():
            latents = model.encoder(target)
        noise = LATENT_NOISE / SCALING * torch.randn(latents.shape, generator=generator)
        with autocast():
            output = model.decoder(latents + noise)
        return reconstruction_loss(output.float(), target)

    train("autoencoder", model, plan, loss_of, folder)
    return model
