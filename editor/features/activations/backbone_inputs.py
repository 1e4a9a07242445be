"""Inputs of a pipeline's backbone: noisy latents, timesteps, and prompts encoded the way each model family expects."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations.hooks import backbone_of
from editor.generation.module_device import to_module

ForwardArguments = dict[str, Any]
"""Keyword arguments of the backbone's ``forward``."""
InputBuilder = Callable[[Any, Tensor, Tensor, list[str]], ForwardArguments]
"""(pipeline, noisy latents, timesteps ``(b,)``, prompts) -> further arguments, or replacements for latents and timesteps."""


def run_backbone(pipeline: Any, noisy: Tensor, timestep: int, prompts: Sequence[str]) -> None:
    """Run one forward pass of the backbone and discard its output; use inside ``capture`` to read its modules.

    Args:
        pipeline: Stable Diffusion 1, 2, XL or 3, FLUX, PixArt, Sana or DiT.
        noisy: ``(b, c, h, w)`` latents, already noised to the timestep.
        timestep: 0 to 999.
        prompts: one per latent. For DiT all must be empty: it is then run without a class.

    Raises:
        FeatureError: the pipeline's backbone is not supported.
    """
    backbone = backbone_of(pipeline)
    given = to_module(backbone, noisy)
    times = torch.full((len(given),), timestep, device=given.device)
    arguments = {"timestep": times} | input_builder_of(pipeline)(pipeline, given, times, list(prompts))
    backbone(arguments.pop("hidden_states", given), return_dict=False, **arguments)


def input_builder_of(pipeline: Any) -> InputBuilder:
    """Return the input builder for the class of the pipeline's backbone."""
    name = type(backbone_of(pipeline)).__name__
    if name not in INPUT_BUILDERS:
        raise FeatureError(
            f"Unsupported backbone {name!r}.",
            field="pipeline",
            remedy=f"Use a pipeline with one of these: {', '.join(INPUT_BUILDERS)}; or run it yourself inside `capture`.",
        )
    return INPUT_BUILDERS[name]


def unet_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """Stable Diffusion 1, 2 and XL. XL also takes a pooled embedding and the image size (micro-conditioning, no crop)."""
    distinct = list(dict.fromkeys(prompts))
    rows = [distinct.index(prompt) for prompt in prompts]
    states, _, *pooled = pipeline.encode_prompt(
        distinct, device=noisy.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    if not pooled:
        return {"encoder_hidden_states": states[rows]}
    height, width = (side * pipeline.vae_scale_factor for side in noisy.shape[2:])
    sizes = torch.tensor([height, width, 0, 0, height, width]).to(states).expand(len(noisy), -1)
    added = {"text_embeds": pooled[0][rows], "time_ids": sizes}
    return {"encoder_hidden_states": states[rows], "added_cond_kwargs": added}


def sd3_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """Stable Diffusion 3: text encoder states and pooled projections."""
    states, _, pooled, _ = pipeline.encode_prompt(prompts, None, None, do_classifier_free_guidance=False)
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


def flux_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """FLUX: latents packed 2 x 2 into tokens, explicit position ids, and time from 0 to 1."""
    states, pooled, text_ids = pipeline.encode_prompt(prompts, None)
    batch, channels, height, width = noisy.shape
    guidance_distilled = pipeline.transformer.config.guidance_embeds
    return {
        "timestep": times / 1000,
        "hidden_states": pipeline._pack_latents(noisy, batch, channels, height, width),
        "img_ids": pipeline._prepare_latent_image_ids(batch, height // 2, width // 2, noisy.device, noisy.dtype),
        "txt_ids": text_ids,
        "encoder_hidden_states": states,
        "pooled_projections": pooled,
        "guidance": torch.full((batch,), 3.5).to(noisy) if guidance_distilled else None,
    }


def pixart_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """PixArt at its native size."""
    states, mask, *_ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False)
    return {
        "encoder_hidden_states": states,
        "encoder_attention_mask": mask,
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


def sana_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """Sana: text encoder states with their mask."""
    states, mask, *_ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False)
    scale = getattr(pipeline.transformer.config, "timestep_scale", 1.0)
    return {"timestep": times * scale, "encoder_hidden_states": states, "encoder_attention_mask": mask}


def dit_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """DiT is conditioned on classes, not on prompts; the index after the last class is the null class."""
    if any(prompts):
        raise FeatureError("DiT does not accept prompts.", field="prompts", remedy="Omit the prompts.")
    null_class = pipeline.transformer.config.num_embeds_ada_norm
    return {"class_labels": torch.full((len(noisy),), null_class, device=noisy.device)}


INPUT_BUILDERS: dict[str, InputBuilder] = {
    "UNet2DConditionModel": unet_inputs,
    "SD3Transformer2DModel": sd3_inputs,
    "FluxTransformer2DModel": flux_inputs,
    "PixArtTransformer2DModel": pixart_inputs,
    "SanaTransformer2DModel": sana_inputs,
    "DiTTransformer2DModel": dit_inputs,
}
