"""What a pipeline's backbone is given beside noisy latents: prompts encoded as each family wants them."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations.hooks import backbone_of

ForwardArguments = dict[str, Any]
"""Of the backbone's forward."""
InputBuilder = Callable[[Any, Tensor, Tensor, list[str]], ForwardArguments]
"""Pipeline, noisy latents, timesteps ``(b,)`` and prompts -> arguments beside latents and timesteps, or in their place."""


def run_backbone(pipeline: Any, noisy: Tensor, timestep: int, prompts: Sequence[str]) -> None:
    """One forward pass of the backbone, for the sake of what its modules put out.

    Args:
        pipeline: of Stable Diffusion 1, 2, XL or 3, FLUX, PixArt or DiT.
        noisy: ``(b, c, h, w)`` latents at the timestep, 0 to 999.
        prompts: one for each; all empty for DiT, which is told no class then.

    Raises:
        FeatureError: no such pipeline is known.
    """
    times = torch.full((len(noisy),), timestep, device=noisy.device)
    given = {"timestep": times} | input_builder_of(pipeline)(pipeline, noisy, times, list(prompts))
    backbone_of(pipeline)(given.pop("hidden_states", noisy), return_dict=False, **given)


def input_builder_of(pipeline: Any) -> InputBuilder:
    """How this pipeline's backbone is told."""
    name = type(backbone_of(pipeline)).__name__
    if name not in INPUT_BUILDERS:
        raise FeatureError(
            f"Nobody knows how to give a prompt to a {name}.",
            field="pipeline",
            remedy=f"Use a pipeline with one of {', '.join(INPUT_BUILDERS)}, or capture its modules while you run it.",
        )
    return INPUT_BUILDERS[name]


def unet_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """Stable Diffusion; XL also wants a pooled embedding, and the image's size without cropping."""
    distinct = list(dict.fromkeys(prompts))
    rows = [distinct.index(prompt) for prompt in prompts]
    states, _, *pooled = pipeline.encode_prompt(
        distinct, device=pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    if not pooled:
        return {"encoder_hidden_states": states[rows]}
    height, width = (side * pipeline.vae_scale_factor for side in noisy.shape[2:])
    sizes = torch.tensor([height, width, 0, 0, height, width]).to(states).expand(len(noisy), -1)
    added = {"text_embeds": pooled[0][rows], "time_ids": sizes}
    return {"encoder_hidden_states": states[rows], "added_cond_kwargs": added}


def sd3_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """Stable Diffusion 3."""
    states, _, pooled, _ = pipeline.encode_prompt(prompts, None, None, do_classifier_free_guidance=False)
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


def flux_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """FLUX: 2 x 2 latents are a token; positions are told; time runs from 0 to 1."""
    states, pooled, text_ids = pipeline.encode_prompt(prompts, None)
    batch, channels, height, width = noisy.shape
    guided = pipeline.transformer.config.guidance_embeds
    return {
        "timestep": times / 1000,
        "hidden_states": pipeline._pack_latents(noisy, batch, channels, height, width),
        "img_ids": pipeline._prepare_latent_image_ids(batch, height // 2, width // 2, noisy.device, noisy.dtype),
        "txt_ids": text_ids,
        "encoder_hidden_states": states,
        "pooled_projections": pooled,
        "guidance": torch.full((batch,), 3.5).to(noisy) if guided else None,
    }


def pixart_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """PixArt at its usual size."""
    states, mask, *_ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False)
    return {
        "encoder_hidden_states": states,
        "encoder_attention_mask": mask,
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


def dit_inputs(pipeline: Any, noisy: Tensor, times: Tensor, prompts: list[str]) -> ForwardArguments:
    """DiT knows classes, not prompts; the one after the last means none."""
    if any(prompts):
        raise FeatureError("DiT reads no prompts.", field="prompts", remedy="Leave prompts out.")
    none = pipeline.transformer.config.num_embeds_ada_norm
    return {"class_labels": torch.full((len(noisy),), none, device=noisy.device)}


INPUT_BUILDERS: dict[str, InputBuilder] = {
    "UNet2DConditionModel": unet_inputs,
    "SD3Transformer2DModel": sd3_inputs,
    "FluxTransformer2DModel": flux_inputs,
    "PixArtTransformer2DModel": pixart_inputs,
    "DiTTransformer2DModel": dit_inputs,
}
