"""The autoencoder: 64 x 64 RGB <-> 8 x 8 latents of 32 channels, an ``AutoencoderTiny`` of the diffusers library.

The encoder is not trained: it is the best linear code of 8 x 8 patches (PCA), written exactly into the strided convolutions.
Its latents are decorrelated by construction, which is what diffusion learns fastest on, and the UNet can be trained on them
before the decoder is good. Only the decoder learns: what a linear inverse would leave soft, it draws sharp.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny
from torch import Tensor

from editor.emoji.composites import Artwork
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from research.emoji.random_subjects import random_subjects
from research.emoji.train_clip import wide_shift
from research.emoji.training_loop import Plan, autocast, train

CHANNELS = 64
LATENT_CHANNELS = 32
"""With 16 the best linear code of 8 x 8 patches is off by 0.090 of a range of 2 in the mean, with 32 by 0.057."""
SCALING = 2.5
"""What the pipeline multiplies latents by: the decoder's clamp at 3 wants them small, the UNet wants unit variance."""
EQUALISING = 0.3
"""A latent channel's deviation grows with its component's to this power: 0 would whiten, and weigh noise like outlines."""
LATENT_NOISE = 0.12
"""Deviation of the noise on unit latents in training: the decoder must forgive what a UNet gets slightly wrong."""
PLAN = Plan(steps=2600, batch=8, shards=2, learning_rate=1e-3, weight_decay=0.0, averaging=0.998)


def build(seed: int) -> AutoencoderTiny:
    """A linear encoder, and a decoder with no blocks at full resolution, where one costs as much as 64 at the latents'."""
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
    """PCA of 8 x 8 patches of ``(n, 3, h, w)`` images in [0, 1]: mean (192,), components (32, 192), their deviations (32,)."""
    patches = F.unfold(pixels, 8, stride=8).transpose(1, 2).reshape(-1, 192).double()
    mean = patches.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov(patches.T))
    top = slice(-LATENT_CHANNELS, None)
    return mean, vectors.T[top].flip(0), values[top].flip(0).sqrt()


@torch.no_grad()
def write_encoder(model: AutoencoderTiny, pixels: Tensor) -> None:
    """Write the linear code into the encoder: two strided convolutions gather 4 x 4 blocks, the third projects four of them.

    Args:
        pixels: ``(n, 3, h, w)`` in [-1, 1] to fit the code on.
    """
    mean, components, deviations = principal_components((pixels + 1) / 2)
    wanted = deviations**EQUALISING
    scale = wanted / wanted.square().mean().sqrt() / deviations / SCALING
    code = components * scale[:, None]
    first, *strided, last = model.encoder.layers
    for layer in model.encoder.layers:
        layer.weight.zero_()
    first.bias.zero_()
    first.weight[range(3), range(3), 1, 1] = 1
    gather(strided[0], 3)
    gather(strided[1], 12)
    strided[2].weight[:LATENT_CHANNELS, :48, 1:, 1:] = unpatched(code)
    last.weight[range(LATENT_CHANNELS), range(LATENT_CHANNELS), 1, 1] = 1
    last.bias.copy_(-(code @ mean))


def gather(layer: torch.nn.Conv2d, channels: int) -> None:
    """A strided convolution that stacks each 2 x 2 block: output channel ``4 c + 2 down + right`` is input channel ``c``."""
    for c in range(channels):
        for place in range(4):
            layer.weight[4 * c + place, c, 1 + place // 2, 1 + place % 2] = 1


def unpatched(code: Tensor) -> Tensor:
    """The code of patches ``(k, 192)``, channel by row by column, as a 2 x 2 kernel ``(k, 48, 2, 2)`` over gathered blocks.

    A gathered channel is ``16 colour + 8 d1 + 4 r1 + ...``: colour, then (down, right) at the finest scale, then the next.
    """
    k = len(code)
    split = code.reshape(k, 3, 2, 2, 2, 2, 2, 2)  # colour, down at scales 4, 2, 1, right at scales 4, 2, 1
    return split.permute(0, 1, 4, 7, 3, 6, 2, 5).reshape(k, 48, 2, 2).float()


def edges(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of neighbouring pixels, down and right."""
    return pixels[..., 1:, :] - pixels[..., :-1, :], pixels[..., 1:] - pixels[..., :-1]


def reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1, L1 of the edges, and L1 at a quarter of the resolution, where flat areas are decided."""
    flat = F.l1_loss(F.avg_pool2d(output, 4), F.avg_pool2d(target, 4))
    sharp = sum(F.l1_loss(a, b) for a, b in zip(edges(output), edges(target), strict=True))
    return F.l1_loss(output, target) + sharp + flat


def with_encoder(seed: int) -> AutoencoderTiny:
    """The model with its encoder written and its decoder random."""
    model = build(seed)
    everything = random_subjects(len(OBJECT_NAMES) * len(STYLES), torch.Generator().manual_seed(seed))
    write_encoder(model, Artwork().render(everything))
    model.encoder.requires_grad_(False)
    return model


def rare_shift(generator: torch.Generator) -> tuple[int, int]:
    """No shift for three batches of four, else up to 2 pixels both ways."""
    return wide_shift(generator) if torch.rand((), generator=generator) < 0.25 else (0, 0)


def train_autoencoder(folder: Path, plan: Plan = PLAN) -> AutoencoderTiny:
    """Train the decoder on composites, most of them where the denoiser will put them."""
    pictures, model = Artwork(), with_encoder(plan.seed)

    def loss_of(generator: torch.Generator) -> Tensor:
        target = pictures.render(random_subjects(plan.batch, generator), rare_shift(generator))
        target = target.to(memory_format=torch.channels_last)
        with torch.no_grad():
            latents = model.encoder(target)
        noise = LATENT_NOISE / SCALING * torch.randn(latents.shape, generator=generator)
        with autocast():
            output = model.decoder(latents + noise)
        return reconstruction_loss(output.float(), target)

    train("autoencoder", model, plan, loss_of, folder)
    return model
