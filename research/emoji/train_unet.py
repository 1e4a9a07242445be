"""Train the denoiser, a ``UNet2DConditionModel`` on 8 x 8 x 32 latents with v-prediction (Salimans & Ho 2022, appendix D).

Step of ``python -m research.emoji.build``.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from editor.emoji.composites import Artwork, Subject
from editor.emoji.vocabulary import BACKGROUNDS, OBJECT_NAMES, STYLES
from research.emoji.random_subjects import random_caption, random_subjects
from research.emoji.train_vae import LATENT_CHANNELS, SCALING
from research.emoji.training_loop import TrainingPlan, autocast, train

PLAN = TrainingPlan(steps=3600, batch=32, shards=2, learning_rate=1e-3, averaging=0.999, warmup=100)
EMPTY_CAPTION_SHARE = 0.1
"""Share of samples whose caption is dropped, for classifier-free guidance."""
SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "steps_offset": 1,
}


def build_unet(seed: int, text_width: int) -> UNet2DConditionModel:
    """Return a UNet with cross-attention at both resolutions; unfused attention is fastest in bf16 on CPUs."""
    torch.manual_seed(seed)
    model = UNet2DConditionModel(
        sample_size=8,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        block_out_channels=(128, 256),
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=16,
    )
    model.set_attn_processor(AttnProcessor())
    return model.to(memory_format=torch.channels_last)


@torch.no_grad()
def encode_artwork(autoencoder: AutoencoderTiny) -> Tensor:
    """Return the scaled latents of every picture without shift, ``(backgrounds, objects * styles, 32, 8, 8)``."""
    pictures = Artwork()
    pairs = [(o, s) for o in range(len(OBJECT_NAMES)) for s in range(len(STYLES))]
    return torch.stack([
        autoencoder.encoder(pictures.render([Subject(o, s, background) for o, s in pairs])) * SCALING
        for background in range(len(BACKGROUNDS))
    ])  # fmt: skip


def sample_timesteps(count: int, generator: torch.Generator) -> Tensor:
    """Draw timesteps with a density that grows with the noise, where only the caption determines the image."""
    return (1000 * torch.rand(count, generator=generator).sqrt()).long()


@dataclass
class CaptionEncoder:
    """Encodes captions, and caches their states."""

    tokenizer: CLIPTokenizer
    encoder: CLIPTextModel
    cache: dict[str, Tensor]

    @torch.no_grad()
    def states(self, captions: list[str]) -> Tensor:
        """Return the last hidden states, ``(n, 24, width)``, padded like the pipeline's."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self.cache]
        if new:
            ids = self.tokenizer(new, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
            hidden = self.encoder(ids).last_hidden_state.bfloat16()
            self.cache.update(zip(new, hidden.clone(), strict=True))
        return torch.stack([self.cache[caption] for caption in captions])


def train_unet(
    autoencoder: AutoencoderTiny,
    encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    folder: Path,
    plan: TrainingPlan = PLAN,
) -> UNet2DConditionModel:
    """Train the UNet on the latents of the artwork and random captions."""
    latents, scheduler = encode_artwork(autoencoder), DDPMScheduler(**SCHEDULE)
    prompts = CaptionEncoder(tokenizer, encoder, {})
    model = build_unet(plan.seed, encoder.config.hidden_size)

    def loss_of(generator: torch.Generator) -> Tensor:
        subjects = random_subjects(plan.batch, generator)
        clean = latents[[s.background for s in subjects], [s.object * len(STYLES) + s.style for s in subjects]]
        captions = [random_caption(subject, generator) for subject in subjects]
        empty = (torch.rand(plan.batch, generator=generator) < EMPTY_CAPTION_SHARE).tolist()
        states = prompts.states(["" if drop else text for drop, text in zip(empty, captions, strict=True)])
        noise = torch.randn(clean.shape, generator=generator)
        times = sample_timesteps(plan.batch, generator)
        noisy = scheduler.add_noise(clean, noise, times).to(memory_format=torch.channels_last)
        with autocast():
            predicted = model(noisy, times, states).sample
        return F.mse_loss(predicted.float(), scheduler.get_velocity(clean, noise, times))

    train("unet", model, plan, loss_of, folder)
    return model
