"""A tiny pipeline of every text-to-image family: the true classes with random weights, and the embedded model's tokenizer.

Nothing is trained, and no weight is zero, so every path from prompt to image has an effect. A pipeline takes milliseconds
to make and an image some ten milliseconds.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from editor.emoji.profile import PROFILE
from editor.prompts.profile import PROFILE_FILE
from research.emoji.train_tokenizer import CONTEXT, train_tokenizer

WIDTH = 32
"""Width of every text encoder."""
PIECES = ("a", "fox", "dog", "face", "cat", "owl", "pizza", "in", "the", "style", "of", "noto", "ink")
"""Words that the tokenizers of T5 and Gemma know; they split others into letters."""
LETTERS = "abcdefghijklmnopqrstuvwxyz"


@cache
def clip_tokenizer() -> CLIPTokenizer:
    return train_tokenizer()


def clip(*, projected: bool = False, activation: str = "quick_gelu") -> CLIPTextModel:
    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_act=activation,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5(width: int = WIDTH) -> tuple[T5EncoderModel, T5Tokenizer]:
    words = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in PIECES), "▁", *LETTERS]
    tokenizer = T5Tokenizer(vocab=[(word, -float(i)) for i, word in enumerate(words)], extra_ids=0)
    config = T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=WIDTH, num_layers=2, num_heads=4)
    return T5EncoderModel(config), tokenizer


def gemma() -> tuple[Gemma2Model, GemmaTokenizer]:
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *LETTERS]
    tokenizer = GemmaTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=[])
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=WIDTH,
        head_dim=8,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attn_implementation="eager",
    )
    return Gemma2Model(config), tokenizer


def vae(channels: int = 4, **more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=channels,
        sample_size=16,
        **more,
    )


def deep_compression_vae() -> AutoencoderDC:
    block_types = ("ResBlock", "EfficientViTBlock")
    return AutoencoderDC(
        in_channels=3,
        latent_channels=4,
        attention_head_dim=2,
        encoder_block_types=block_types,
        decoder_block_types=block_types,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        encoder_qkv_multiscales=((), (5,)),
        decoder_qkv_multiscales=((), (5,)),
        encoder_layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1),
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        decoder_norm_types="rms_norm",
        decoder_act_fns="silu",
        scaling_factor=0.41407,
    )


def unet(width: int, **more: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=width,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **more,
    )


def stable_diffusion_1() -> Any:
    scheduler = DPMSolverMultistepScheduler(
        steps_offset=1, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    )
    return StableDiffusionPipeline(
        vae(), clip(), clip_tokenizer(), unet(WIDTH), scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def stable_diffusion_2() -> Any:
    scheduler = DDIMScheduler(clip_sample=False, steps_offset=1, prediction_type="v_prediction")
    return StableDiffusionPipeline(
        vae(), clip(activation="gelu"), clip_tokenizer(), unet(WIDTH, use_linear_projection=True), scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def sdxl() -> Any:
    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": WIDTH + 24,
    }
    return StableDiffusionXLPipeline(
        vae(force_upcast=True),
        clip(),
        clip(projected=True, activation="gelu"),
        clip_tokenizer(),
        clip_tokenizer(),
        unet(2 * WIDTH, use_linear_projection=True, **added),
        EulerDiscreteScheduler(beta_schedule="scaled_linear", steps_offset=1),
        add_watermarker=False,
    )


def sd3() -> Any:
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=4, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, caption_projection_dim=16, joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH, pos_embed_max_size=16,
    )  # fmt: skip
    clips = (clip(projected=True), clip_tokenizer(), clip(projected=True, activation="gelu"), clip_tokenizer())
    return StableDiffusion3Pipeline(
        transformer, FlowMatchEulerDiscreteScheduler(shift=3.0), vae(shift_factor=0.06), *clips, *t5(2 * WIDTH)
    )


def flux(*, distilled: bool = False, dynamic: bool = False) -> Any:
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, pooled_projection_dim=WIDTH, axes_dims_rope=(4, 4, 8), guidance_embeds=distilled,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0 if dynamic else 1.0, use_dynamic_shifting=dynamic)
    return FluxPipeline(scheduler, vae(shift_factor=0.1), clip(), clip_tokenizer(), *t5(), transformer)


def chroma() -> Any:
    transformer = ChromaTransformer2DModel(
        in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, axes_dims_rope=(4, 4, 8), approximator_num_channels=64, approximator_hidden_dim=WIDTH,
        approximator_layers=1,
    )  # fmt: skip
    return ChromaPipeline(FlowMatchEulerDiscreteScheduler(), vae(shift_factor=0.1), *t5(), transformer)


def pixart() -> Any:
    transformer = PixArtTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, cross_attention_dim=16, caption_channels=WIDTH, use_additional_conditions=False,
    )  # fmt: skip
    encoder, tokenizer = t5()
    scheduler = DPMSolverMultistepScheduler()
    return PixArtSigmaPipeline(tokenizer, encoder, vae(), transformer, scheduler)


def sana() -> Any:
    transformer = SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=WIDTH,
        sample_size=16,
    )  # fmt: skip
    encoder, tokenizer = gemma()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return SanaPipeline(tokenizer, encoder, deep_compression_vae(), transformer, scheduler)


PIPELINES: dict[str, Callable[[], Any]] = {
    "stable-diffusion-1": stable_diffusion_1,
    "stable-diffusion-2": stable_diffusion_2,
    "sdxl": sdxl,
    "sd3": sd3,
    "flux": lambda: flux(distilled=True, dynamic=True),
    "flux-schnell": flux,
    "flux-undistilled": lambda: flux(dynamic=True),
    "chroma": chroma,
    "pixart": pixart,
    "sana": sana,
}
NEWER_FAMILIES = ("chroma", "flux-undistilled")
"""Families that have no code of their own."""
FAMILIES = tuple(family for family in PIPELINES if family not in NEWER_FAMILIES)
SIZES = dict.fromkeys(PIPELINES, 16) | {"sana": 32}
"""Height and width of an image in pixels. Not every pipeline has it as its default: FLUX, Chroma and Sana have 1024 x 1024."""
CLIP_FAMILIES = ("stable-diffusion-1", "stable-diffusion-2", "sdxl", "sd3", "flux", "flux-schnell")
"""Families with a CLIP text encoder, which an edit needs."""
UNET_FAMILIES = ("stable-diffusion-1", "stable-diffusion-2", "sdxl")


def make_pipeline(family: str) -> Any:
    """Return a new pipeline of a family; the same weights every time."""
    torch.manual_seed(0)
    pipeline = PIPELINES[family]()
    for module in modules_of(pipeline):
        randomize_zeros(module)
        module.eval().requires_grad_(False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def shared_pipeline(family: str) -> Any:
    """Return the one cached pipeline of a family. Do not change it."""
    return make_pipeline(family)


def save_model(family: str, folder: Path) -> Path:
    """Write a pipeline as a diffusers folder, with the embedded model's profile. Returns the folder."""
    shared_pipeline(family).save_pretrained(folder)
    (folder / PROFILE_FILE).write_text(PROFILE.model_dump_json())
    return folder


def modules_of(pipeline: Any) -> list[nn.Module]:
    return [part for part in pipeline.components.values() if isinstance(part, nn.Module)]


@torch.no_grad()
def randomize_zeros(module: nn.Module) -> None:
    """Fill parameters that are initialized to a constant, such as biases and gates, with small random numbers."""
    for parameter in module.parameters():
        if parameter.numel() > 1 and parameter.min() == parameter.max():
            parameter.add_(0.1 * torch.randn_like(parameter))
