"""A small pipeline of every supported backbone family, with random weights and the real classes."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtAlphaPipeline,
    PixArtTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from research.emoji.train_tokenizer import CONTEXT, train_tokenizer

WIDTH = 16


def latents_of(family: str, rows: int = 1) -> Tensor:
    """Return latents that are not square, to detect transposed maps; diffusers' DiT supports squares only."""
    size = (16, 16) if family == "dit" else (8, 16)
    return torch.randn(rows, 4, *size, generator=torch.Generator().manual_seed(1))


@cache
def tokens() -> CLIPTokenizer:
    return train_tokenizer()


def clip(tokenizer: CLIPTokenizer, projected: bool = False) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=32,
        projection_dim=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def t5() -> tuple[T5EncoderModel, T5Tokenizer]:
    pieces = ["<pad>", "</s>", "<unk>", "▁", "▁a", "▁fox", "▁an", "▁owl"]
    tokenizer = T5Tokenizer(vocab=[(piece, -float(i)) for i, piece in enumerate(pieces)], extra_ids=0)
    config = T5Config(vocab_size=len(tokenizer), d_model=WIDTH, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    return T5EncoderModel(config).eval(), tokenizer


def vae(channels: int = 4) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4, latent_channels=channels, sample_size=16,
    ).eval()  # fmt: skip


def unet(width: int, **more: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=width,
        attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D",) * 2,
        up_block_types=("CrossAttnUpBlock2D",) * 2,
        **more,
    ).eval()


def stable_diffusion() -> Any:
    tokenizer = tokens()
    return StableDiffusionPipeline(
        vae(), clip(tokenizer), tokenizer, unet(WIDTH), DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sdxl() -> Any:
    tokenizer = tokens()
    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": WIDTH + 24,
    }
    encoders = clip(tokenizer), clip(tokenizer, projected=True)
    return StableDiffusionXLPipeline(
        vae(),
        *encoders,
        tokenizer,
        tokenizer,
        unet(2 * WIDTH, **added),
        DDIMScheduler(clip_sample=False, steps_offset=1),
        add_watermarker=False,
    )


def sd3() -> Any:
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, caption_projection_dim=16, joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH, pos_embed_max_size=16,
    ).eval()  # fmt: skip
    tokenizer = tokens()
    encoders = (clip(tokenizer, projected=True), tokenizer) * 2
    return StableDiffusion3Pipeline(transformer, FlowMatchEulerDiscreteScheduler(), vae(), *encoders, None, None)


def flux() -> Any:
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=1,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, axes_dims_rope=(4, 4, 8), guidance_embeds=True,
    ).eval()  # fmt: skip
    tokenizer = tokens()
    scheduler = FlowMatchEulerDiscreteScheduler()
    return FluxPipeline(scheduler, vae(), clip(tokenizer), tokenizer, *t5(), transformer)


def pixart() -> Any:
    transformer = PixArtTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, cross_attention_dim=16, caption_channels=WIDTH, use_additional_conditions=False,
    ).eval()  # fmt: skip
    encoder, tokenizer = t5()
    return PixArtAlphaPipeline(tokenizer, encoder, vae(), transformer, DDIMScheduler(clip_sample=False, steps_offset=1))


def dit() -> Any:
    transformer = DiTTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, num_embeds_ada_norm=10,
    ).eval()  # fmt: skip
    return DiTPipeline(transformer, vae(), DDIMScheduler(clip_sample=False, steps_offset=1))


PIPELINES: dict[str, Callable[[], Any]] = {
    "stable-diffusion": stable_diffusion,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": flux,
    "pixart": pixart,
    "dit": dit,
}
BLOCKS = {
    "stable-diffusion": ("down_blocks.0", "mid_block", "up_blocks.0", "up_blocks.1"),
    "sdxl": ("down_blocks.0", "mid_block", "up_blocks.0", "up_blocks.1"),
    "sd3": ("transformer_blocks.0", "transformer_blocks.1"),
    "flux": ("transformer_blocks.0", "single_transformer_blocks.0"),
    "pixart": ("transformer_blocks.0", "transformer_blocks.1"),
    "dit": ("transformer_blocks.0", "transformer_blocks.1"),
}


@cache
def pipeline_of(family: str) -> Any:
    """Return a cached pipeline, not to be modified; every tensor is random so that zero weights hide no path."""
    torch.manual_seed(0)
    pipeline = PIPELINES[family]()
    backbone = getattr(pipeline, "unet", None) or pipeline.transformer
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.normal_(std=0.2)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
