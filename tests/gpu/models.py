"""Pipelines and a judge of true geometry with random weights, made on the spot from the shipped configurations."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from editor.checkpoints.prompt_tokenizer import EOS
from editor.checkpoints.tokenizers import clip_tokenizer
from editor.generation.device import ComputeDevice
from editor.generation.pipelines import families
from editor.generation.pipelines.families import FAMILIES

STABLE_DIFFUSION, SDXL, FLUX = "stable-diffusion-1", "sdxl", "flux-schnell"
CONTEXT, T5_POSITIONS = 77, 256
WEIGHT_STD = 0.02
"""Standard deviation of every weight matrix, at which activations stay finite in float16."""


def random_pipeline(family: str, dtype: torch.dtype, changes: Mapping[str, dict[str, Any]] | None = None) -> Any:
    """Return a ``StableDiffusionPipeline`` or ``StableDiffusionXLPipeline`` on the CPU.

    Args:
        changes: by component, settings that differ from the family's.
    """
    folder = FAMILIES / family

    def read_config(folder: Path, name: str) -> dict[str, Any]:
        return families.read_config(folder, name) | (changes or {}).get(name, {})

    encoders = {"text_encoder": transformers.CLIPTextModel}
    if family == SDXL:
        encoders["text_encoder_2"] = transformers.CLIPTextModelWithProjection
    parts: dict[str, Any] = {
        name: random_encoder(encoder, read_config(folder, name), dtype) for name, encoder in encoders.items()
    }
    pads = {"text_encoder": EOS, "text_encoder_2": "!"}
    parts |= {name.replace("text_encoder", "tokenizer"): clip_tokenizer(pads[name], CONTEXT) for name in encoders}
    parts["unet"] = random_model(diffusers.UNet2DConditionModel, read_config(folder, "unet"), dtype)
    parts["vae"] = random_model(diffusers.AutoencoderKL, read_config(folder, "vae"), dtype)
    parts["scheduler"] = diffusers.EulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    if family == SDXL:
        return quiet(diffusers.StableDiffusionXLPipeline(**parts))
    optional = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    return quiet(diffusers.StableDiffusionPipeline(**parts, **optional))


def random_flux(device: ComputeDevice) -> Any:
    """Return a ``FluxPipeline`` on the device without text encoders, which is called with embeddings."""
    folder = FAMILIES / FLUX
    with torch.device(device.torch_device):
        transformer = random_model(
            diffusers.FluxTransformer2DModel, families.read_config(folder, "transformer"), device.dtype
        )
        vae = random_model(diffusers.AutoencoderKL, families.read_config(folder, "vae"), device.dtype)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    missing = dict.fromkeys(("text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    return quiet(diffusers.FluxPipeline(scheduler=scheduler, vae=vae, transformer=transformer, **missing))


def flux_embeddings(pipeline: Any, images: int) -> dict[str, torch.Tensor]:
    """Return random embeddings of prompts: the positions of T5, and the pooled embedding of CLIP."""
    config = pipeline.transformer.config
    shapes = {
        "prompt_embeds": (images, 256, config.joint_attention_dim),
        "pooled_prompt_embeds": (images, config.pooled_projection_dim),
    }
    generator = torch.Generator().manual_seed(0)
    like = next(pipeline.transformer.parameters())
    return {name: torch.randn(shape, generator=generator).to(like) for name, shape in shapes.items()}


def random_model(kind: Any, config: dict[str, Any], dtype: torch.dtype) -> Any:
    """Return a diffusers model in evaluation mode."""
    return randomize(lambda: kind.from_config(config), dtype)


def random_encoder(kind: Any, config: dict[str, Any], dtype: torch.dtype) -> Any:
    """Return a CLIP text encoder in evaluation mode."""
    return randomize(lambda: kind(kind.config_class.from_dict(config)), dtype)


def randomize(make: Callable[[], Any], dtype: torch.dtype) -> Any:
    """Return a model in a dtype, with normal weight matrices; norms and biases keep their initial values."""
    previous = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        model = make()
    finally:
        torch.set_default_dtype(previous)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=WEIGHT_STD)
    return model.eval().requires_grad_(False)


def quiet(pipeline: Any) -> Any:
    """Return the pipeline without its progress bar."""
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_random_judge(folder: Path) -> Path:
    """Write a CLIP ViT-B/32 with random weights, its tokenizer and OpenAI's image processor. Returns the folder."""
    torch.manual_seed(7)
    tokenizer = clip_tokenizer(EOS, CONTEXT)
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = transformers.CLIPConfig(text_config=ends)
    transformers.CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessorPil().save_pretrained(folder)
    return folder
