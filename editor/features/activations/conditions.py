"""What a pipeline's backbone is given beside noisy latents: prompts encoded as each family wants them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations.capture import backbone_of

Arguments = dict[str, Any]
"""Of the backbone's forward."""


def denoise(pipeline: Any, noisy: Tensor, timestep: int, prompts: Sequence[str]) -> None:
    """One forward pass of the backbone, for the sake of what its modules put out.

    Args:
        pipeline: of Stable Diffusion 1, 2, XL or 3, FLUX, PixArt or DiT.
        noisy: ``(b, c, h, w)`` latents at the timestep, 0 to 999.
        prompts: one for each; all empty for DiT, which is told no class then.

    Raises:
        FeatureError: no such pipeline is known.
    """
    backbone = backbone_of(pipeline)
    arguments = known(pipeline)(pipeline, noisy, list(prompts))
    packed = arguments.pop("hidden_states", noisy)
    scale = 1000 if type(backbone).__name__ == "FluxTransformer2DModel" else 1
    times = torch.full((len(noisy),), timestep / scale if scale > 1 else timestep, device=noisy.device)
    backbone(packed, timestep=times, return_dict=False, **arguments)


def known(pipeline: Any) -> Callable[[Any, Tensor, list[str]], Arguments]:
    """How this pipeline's backbone is told."""
    name = type(backbone_of(pipeline)).__name__
    if name not in ARGUMENTS:
        raise FeatureError(
            f"Nobody knows how to give a prompt to a {name}.",
            field="pipeline",
            remedy=f"Use a pipeline with one of {', '.join(ARGUMENTS)}, or capture its modules while you run it.",
        )
    return ARGUMENTS[name]


def unet(pipeline: Any, noisy: Tensor, prompts: list[str]) -> Arguments:
    """Stable Diffusion; XL also wants a pooled embedding, and the image's size without cropping."""
    states, _, *pooled = encoded(pipeline, prompts)
    if not pooled:
        return {"encoder_hidden_states": states}
    height, width = (side * pipeline.vae_scale_factor for side in noisy.shape[2:])
    sizes = torch.tensor([height, width, 0, 0, height, width]).to(pooled[0]).expand(len(noisy), -1)
    return {
        "encoder_hidden_states": states,
        "added_cond_kwargs": {"text_embeds": pooled[0], "time_ids": sizes},
    }


def sd3(pipeline: Any, noisy: Tensor, prompts: list[str]) -> Arguments:
    """Stable Diffusion 3."""
    states, _, pooled, _ = pipeline.encode_prompt(prompts, None, None, do_classifier_free_guidance=False)
    return {"encoder_hidden_states": states, "pooled_projections": pooled}


def flux(pipeline: Any, noisy: Tensor, prompts: list[str]) -> Arguments:
    """FLUX: 2 x 2 latents are a token; positions are told."""
    states, pooled, text_ids = pipeline.encode_prompt(prompts, None)
    batch, channels, height, width = noisy.shape
    guided = pipeline.transformer.config.guidance_embeds
    return {
        "hidden_states": pipeline._pack_latents(noisy, batch, channels, height, width),
        "img_ids": pipeline._prepare_latent_image_ids(batch, height // 2, width // 2, noisy.device, noisy.dtype),
        "txt_ids": text_ids,
        "encoder_hidden_states": states,
        "pooled_projections": pooled,
        "guidance": torch.full((batch,), 3.5).to(noisy) if guided else None,
    }


def pixart(pipeline: Any, noisy: Tensor, prompts: list[str]) -> Arguments:
    """PixArt at its usual size."""
    states, mask, *_ = pipeline.encode_prompt(prompts, do_classifier_free_guidance=False)
    return {
        "encoder_hidden_states": states,
        "encoder_attention_mask": mask,
        "added_cond_kwargs": {"resolution": None, "aspect_ratio": None},
    }


def dit(pipeline: Any, noisy: Tensor, prompts: list[str]) -> Arguments:
    """DiT knows classes, not prompts; the one after the last means none."""
    if any(prompts):
        raise FeatureError("DiT reads no prompts.", field="prompts", remedy="Leave prompts out.")
    none = pipeline.transformer.config.num_embeds_ada_norm
    return {"class_labels": torch.full((len(noisy),), none, device=noisy.device)}


def encoded(pipeline: Any, prompts: list[str]) -> Sequence[Any]:
    """By the pipeline itself, each distinct prompt once: states, None, and XL's pooled embeddings."""
    distinct = list(dict.fromkeys(prompts))
    found = pipeline.encode_prompt(
        distinct, device=pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    rows = [distinct.index(prompt) for prompt in prompts]
    return [part[rows] if part is not None else None for part in found[:3] if part is not None or part is found[1]]


ARGUMENTS: Mapping[str, Callable[[Any, Tensor, list[str]], Arguments]] = {
    "UNet2DConditionModel": unet,
    "SD3Transformer2DModel": sd3,
    "FluxTransformer2DModel": flux,
    "PixArtTransformer2DModel": pixart,
    "DiTTransformer2DModel": dit,
}
