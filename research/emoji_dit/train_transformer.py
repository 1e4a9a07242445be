"""Train the denoiser, a ``FluxTransformer2DModel`` on 16 tokens of 128 channels, by flow matching (Esser et al. 2024).

Step of ``python -m research.emoji_dit.build``. It predicts the clean latents, and its loss is that of the velocity: of a few
wide tokens, the clean ones are simple, but noise fills all channels (JiT, Li & He 2025). Sequence and pooled vector are dropped
independently, so that either alone carries the prompt: with both always present, one of the two routes would learn everything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, FluxPipeline, FluxTransformer2DModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, T5EncoderModel, T5Tokenizer

from editor.emoji.vocabulary import STYLES
from research.emoji.random_subjects import random_caption, random_subjects
from research.emoji.train_unet import encode_artwork
from research.emoji.training_loop import TrainingPlan, autocast, train
from research.emoji_dit.train_t5 import token_ids

PLAN = TrainingPlan(steps=4000, batch=32, shards=2, learning_rate=1e-3, seed=5, averaging=0.999, warmup=200)
DROPPED_SHARE = 1 / 3
"""Share of samples without the sequence, and independently without the pooled vector: a ninth has neither."""
NOISE_LOCATION = 0.5
"""Mean of the logit of the training times. Above 0 it favours noise, where the prompt alone determines the image."""
MINIMUM_TIME = 0.05
"""Least time that the error of the clean latents is divided by to become that of the velocity."""
HEADS, HEAD_WIDTH = 6, 32


def build_transformer(seed: int, text_width: int, pooled_width: int) -> FluxTransformer2DModel:
    """Return the denoiser, whose modulated residuals start at zero, as diffusers does not initialise them."""
    torch.manual_seed(seed)
    model = FluxTransformer2DModel(
        patch_size=1,
        in_channels=128,
        num_layers=3,
        num_single_layers=6,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=text_width,
        pooled_projection_dim=pooled_width,
        guidance_embeds=False,
        axes_dims_rope=(8, 12, 12),
    )
    for block in model.transformer_blocks:
        set_to_zero(block.norm1.linear, block.norm1_context.linear)
    for block in model.single_transformer_blocks:
        set_to_zero(block.norm.linear)
    set_to_zero(model.norm_out.linear, model.proj_out)
    return model


def set_to_zero(*layers: nn.Linear) -> None:
    """Set weights and biases to zero."""
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)


def pack_latents(latents: Tensor) -> Tensor:
    """Pack ``(n, 32, 8, 8)`` latents into ``(n, 16, 128)`` tokens of 2 x 2 positions, as ``FluxPipeline`` does."""
    packed: Tensor = FluxPipeline._pack_latents(latents, *latents.shape)
    return packed


@dataclass
class PromptEncoder:
    """Encodes captions by both encoders, and caches the results."""

    t5_tokenizer: T5Tokenizer
    t5: T5EncoderModel
    clip_tokenizer: CLIPTokenizer
    clip: CLIPTextModel
    cache: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def sequences(self, captions: list[str]) -> Tensor:
        """Return T5's states, ``(n, 32, d)``, padded and unmasked like the pipeline's."""
        self._encode(captions)
        return torch.stack([self.cache[caption][0] for caption in captions])

    def pooled(self, captions: list[str]) -> Tensor:
        """Return CLIP's pooled vectors, ``(n, d)``."""
        self._encode(captions)
        return torch.stack([self.cache[caption][1] for caption in captions])

    @torch.no_grad()
    def _encode(self, captions: list[str]) -> None:
        new = [caption for caption in dict.fromkeys(captions) if caption not in self.cache]
        if not new:
            return
        ids = self.clip_tokenizer(new, padding="max_length", truncation=True, return_tensors="pt")["input_ids"]
        sequences = self.t5(input_ids=token_ids(self.t5_tokenizer, new)).last_hidden_state.bfloat16()
        pooled = self.clip(ids).pooler_output.bfloat16()
        self.cache.update(zip(new, zip(sequences, pooled, strict=True), strict=True))


def sample_times(count: int, generator: torch.Generator) -> Tensor:
    """Draw logit-normal times in (0, 1); 1 is pure noise."""
    return torch.sigmoid(NOISE_LOCATION + torch.randn(count, generator=generator))


def drop_captions(captions: list[str], generator: torch.Generator) -> list[str]:
    """Replace a third of the captions by the empty prompt."""
    dropped = (torch.rand(len(captions), generator=generator) < DROPPED_SHARE).tolist()
    return ["" if drop else caption for drop, caption in zip(dropped, captions, strict=True)]


def make_denoiser_call(model: FluxTransformer2DModel, prompt_rows: int) -> Callable[..., Tensor]:
    """Return the call of the denoiser with the positions that ``FluxPipeline`` gives to 4 x 4 image tokens and the prompt."""
    image_ids = FluxPipeline._prepare_latent_image_ids(1, 4, 4, torch.device("cpu"), torch.float32)
    text_ids = torch.zeros(prompt_rows, 3)

    def predict(tokens: Tensor, times: Tensor, sequences: Tensor, pooled: Tensor) -> Tensor:
        output: Tensor = model(
            hidden_states=tokens,
            timestep=times,
            encoder_hidden_states=sequences,
            pooled_projections=pooled,
            img_ids=image_ids,
            txt_ids=text_ids,
        ).sample
        return output

    return predict


def velocity_loss(predicted: Tensor, clean: Tensor, times: Tensor) -> Tensor:
    """Return the squared error of the velocity (noisy - clean) / time that predicted latents stand for."""
    errors = (predicted - clean) / times[:, None, None].clamp_min(MINIMUM_TIME)
    return errors.square().mean()


def train_transformer(
    autoencoder: AutoencoderTiny, prompts: PromptEncoder, folder: Path, plan: TrainingPlan = PLAN
) -> FluxTransformer2DModel:
    """Train the denoiser to predict the artwork's latents, on random captions."""
    latents = encode_artwork(autoencoder)
    model = build_transformer(plan.seed, prompts.t5.config.d_model, prompts.clip.config.hidden_size)
    predict = make_denoiser_call(model, prompts.sequences([""]).shape[1])

    def loss_of(generator: torch.Generator) -> Tensor:
        subjects = random_subjects(plan.batch, generator)
        clean = pack_latents(
            latents[[s.background for s in subjects], [s.object * len(STYLES) + s.style for s in subjects]]
        )
        captions = [random_caption(subject, generator) for subject in subjects]
        sequences = prompts.sequences(drop_captions(captions, generator))
        pooled = prompts.pooled(drop_captions(captions, generator))
        noise = torch.randn(clean.shape, generator=generator)
        times = sample_times(len(clean), generator)
        noisy = torch.lerp(clean, noise, times[:, None, None])
        with autocast():
            predicted = predict(noisy, times, sequences, pooled)
        return velocity_loss(predicted.float(), clean, times)

    train("transformer", model, plan, loss_of, folder)
    return model
