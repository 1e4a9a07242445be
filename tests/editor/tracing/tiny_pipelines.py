"""Tiny diffusers pipelines with random weights."""

import warnings
from typing import Any

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

UNET = {
    "sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": (32, 64), "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "norm_num_groups": 8, "attention_head_dim": 2,
}  # fmt: skip


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(16, 16), norm_num_groups=4, latent_channels=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, sample_size=16,
    )  # fmt: skip


def scale_weights(module: torch.nn.Module) -> torch.nn.Module:
    """Double random weights, so that the prompt has a visible effect."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("weight") and parameter.ndim > 1:
                parameter.mul_(2.0)
    return module.eval()


@pytest.fixture(scope="session")
def pipeline(encoder: CLIPTextModel, tokenizer: CLIPTokenizer) -> Any:
    torch.manual_seed(3)
    made = StableDiffusionPipeline(
        vae=tiny_vae().eval(), text_encoder=encoder, tokenizer=tokenizer,
        unet=scale_weights(UNet2DConditionModel(**UNET, cross_attention_dim=64)),
        scheduler=DPMSolverMultistepScheduler(steps_offset=1), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="session")
def xl(tokenizer: CLIPTokenizer) -> Any:
    torch.manual_seed(4)
    shared = {
        "vocab_size": len(tokenizer), "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
        "max_position_embeddings": 24, "bos_token_id": 812, "eos_token_id": 813, "projection_dim": 24,
    }  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = StableDiffusionXLPipeline(
            vae=tiny_vae().eval(), text_encoder=CLIPTextModel(CLIPTextConfig(hidden_size=32, **shared)).eval(),
            text_encoder_2=CLIPTextModelWithProjection(CLIPTextConfig(hidden_size=48, **shared)).eval(),
            tokenizer=tokenizer, tokenizer_2=tokenizer, scheduler=EulerDiscreteScheduler(steps_offset=1), add_watermarker=False,
            unet=scale_weights(UNet2DConditionModel(
                **UNET, cross_attention_dim=80, addition_embed_type="text_time", addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=24 + 6 * 8)),
        )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made
