"""The sampler settings that a family is judged with: those of its pipeline in diffusers, with fewer steps of a UNet."""

import inspect
from dataclasses import dataclass
from typing import Any

from editor.generation import module_device
from editor.generation.guidance import is_timestep_distilled

TIMESTEP_DISTILLED_STEPS = 4
"""FLUX.1 schnell, whose transformer has no guidance input, is distilled to one to four steps without guidance."""
MAX_UNET_STEPS = 30
"""Stable Diffusion and SDXL have 50 in diffusers. Their schedulers converge in fewer: the images of 30 show the same things."""


@dataclass(frozen=True)
class FamilyDefaults:
    """How images are generated unless a request says otherwise."""

    steps: int
    guidance: float
    size: tuple[int, int] | None
    """Height and width in pixels; None if neither the model nor its pipeline states them."""


def family_defaults(pipeline: Any) -> FamilyDefaults:
    """Return the settings of the pipeline's own call, at most `MAX_UNET_STEPS` for a UNet, and the model's own size."""
    if is_timestep_distilled(pipeline):
        return FamilyDefaults(TIMESTEP_DISTILLED_STEPS, 0.0, module_device.native_size(pipeline))
    parameters = inspect.signature(type(pipeline).__call__).parameters
    guidance = [parameters[name].default for name in ("guidance_scale", "true_cfg_scale") if name in parameters]
    steps = int(parameters["num_inference_steps"].default)
    return FamilyDefaults(
        steps=min(steps, MAX_UNET_STEPS) if getattr(pipeline, "unet", None) is not None else steps,
        guidance=next((float(value) for value in guidance if value is not None), 1.0),
        size=module_device.native_size(pipeline),
    )
