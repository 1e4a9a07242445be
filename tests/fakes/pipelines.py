"""A tiny pipeline of every family: the true classes with random weights, and the embedded model's tokenizer.

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
    AutoencoderKLQwenImage,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DDIMScheduler,
    DiTPipeline,
    DiTTransformer2DModel,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from torch import nn

from editor.emoji.profile import PROFILE
from editor.prompts.profile import PROFILE_FILE
from tests.fakes.text_encoders import WIDTH, clip, clip_tokenizer, gemma, qwen2_5_vl, qwen3, t5


def vae(blocks: int = 2, **more: Any) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * blocks,
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        norm_num_groups=4,
        latent_channels=4,
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


def dit() -> Any:
    transformer = DiTTransformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=2, attention_head_dim=8,
        num_attention_heads=2, num_embeds_ada_norm=10,
    )  # fmt: skip
    return DiTPipeline(transformer, vae(), DDIMScheduler())


def sana() -> Any:
    transformer = SanaTransformer2DModel(
        patch_size=1, in_channels=4, out_channels=4, num_layers=2, num_attention_heads=2, attention_head_dim=8,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16, caption_channels=WIDTH,
        sample_size=16,
    )  # fmt: skip
    encoder, tokenizer = gemma()
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return SanaPipeline(tokenizer, encoder, deep_compression_vae(), transformer, scheduler)


def qwen_image() -> Any:
    transformer = QwenImageTransformer2DModel(
        in_channels=16, out_channels=4, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=WIDTH, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    decoder = AutoencoderKLQwenImage(
        base_dim=8, z_dim=4, dim_mult=[1, 2], num_res_blocks=1, temperal_downsample=[False], latents_mean=[0.0] * 4,
        latents_std=[1.0] * 4,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return QwenImagePipeline(scheduler, decoder, *qwen2_5_vl(), transformer)


def z_image() -> Any:
    transformer = ZImageTransformer2DModel(
        in_channels=4, dim=WIDTH, n_layers=2, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=WIDTH,
        axes_dims=[4, 6, 6], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    return ZImagePipeline(scheduler, vae(shift_factor=0.1), *qwen3(), transformer)


def lumina2() -> Any:
    transformer = Lumina2Transformer2DModel(
        sample_size=4, in_channels=4, hidden_size=WIDTH, num_layers=2, num_refiner_layers=1, num_attention_heads=2,
        num_kv_heads=1, multiple_of=8, axes_dim_rope=(4, 6, 6), axes_lens=(512, 64, 64), cap_feat_dim=2 * WIDTH,
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(shift=6.0)
    return Lumina2Pipeline(transformer, scheduler, vae(blocks=4, shift_factor=0.1), *gemma(2 * WIDTH))


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
    "qwen-image": qwen_image,
    "z-image": z_image,
    "lumina2": lumina2,
    "dit": dit,
}
CLASS_FAMILIES = ("dit",)
"""Families that generate images of a class, not of a prompt."""
NEWER_FAMILIES = ("chroma", "flux-undistilled", "qwen-image", "z-image", "lumina2")
"""Families that have no code of their own."""
FAMILIES = tuple(family for family in PIPELINES if family not in (*NEWER_FAMILIES, *CLASS_FAMILIES))
SIZES = dict.fromkeys(PIPELINES, 16) | {"sana": 32, "lumina2": 32}
"""Height and width of an image in pixels. Most transformers' pipelines have 1024 x 1024 as their default."""
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
