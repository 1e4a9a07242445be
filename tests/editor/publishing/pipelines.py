"""A pipeline of every family, with text encoders of the true width but few layers, and everything else as small as possible."""

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from tests.editor.publishing.conftest import CONTEXT, tiny_tokenizer

FAMILIES = ("stable-diffusion-1", "stable-diffusion-2", "sdxl", "sd3", "flux")
WIDTHS = {"l": (768, 12, "quick_gelu"), "h": (1024, 16, "gelu"), "g": (1280, 20, "gelu")}


def encoder(size: str, layers: int = 1, *, pooled: bool = False) -> CLIPTextModel:
    """Return a CLIP text encoder of the true width."""
    width, heads, activation = WIDTHS[size]
    tokenizer = tiny_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        projection_dim=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_act=activation,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return (CLIPTextModelWithProjection if pooled else CLIPTextModel)(config).eval()


def t5() -> T5EncoderModel:
    return T5EncoderModel(T5Config(vocab_size=32, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)).eval()


def vae() -> AutoencoderKL:
    return AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4)


def unet(width: int, **more: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(8,),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=width,
        attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D",),
        up_block_types=("CrossAttnUpBlock2D",),
        **more,
    )


def stable_diffusion(size: str) -> StableDiffusionPipeline:
    return StableDiffusionPipeline(
        vae(),
        encoder(size, 2),
        tiny_tokenizer(),
        unet(WIDTHS[size][0]),
        DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> StableDiffusionXLPipeline:
    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 1328,
    }
    return StableDiffusionXLPipeline(
        vae(),
        encoder("l", 2),
        encoder("g", pooled=True),
        tiny_tokenizer(),
        tiny_tokenizer(),
        unet(2048, **added),
        DDIMScheduler(clip_sample=False, steps_offset=1),
        add_watermarker=False,
    )


def sd3() -> StableDiffusion3Pipeline:
    transformer = SD3Transformer2DModel(
        sample_size=4,
        patch_size=1,
        in_channels=4,
        out_channels=4,
        num_layers=1,
        attention_head_dim=4,
        num_attention_heads=2,
        caption_projection_dim=8,
        joint_attention_dim=8,
        pooled_projection_dim=2048,
    )
    return StableDiffusion3Pipeline(
        transformer,
        FlowMatchEulerDiscreteScheduler(),
        vae(),
        encoder("l", pooled=True),
        tiny_tokenizer(),
        encoder("g", pooled=True),
        tiny_tokenizer(),
        t5(),
        None,
    )


def flux() -> FluxPipeline:
    transformer = FluxTransformer2DModel(
        in_channels=4,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=1,
        joint_attention_dim=8,
        pooled_projection_dim=768,
        axes_dims_rope=(2, 2, 4),
    )
    scheduler = FlowMatchEulerDiscreteScheduler()
    return FluxPipeline(scheduler, vae(), encoder("l"), tiny_tokenizer(), t5(), None, transformer)


def make_pipeline(family: str) -> DiffusionPipeline:
    """Return a pipeline with reproducible random weights."""
    torch.manual_seed(0)
    made = {"sdxl": sdxl, "sd3": sd3, "flux": flux}.get(family)
    size = "h" if family == "stable-diffusion-2" else "l"
    return made() if made else stable_diffusion(size)
