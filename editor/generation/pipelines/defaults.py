"""The sampler settings that a family is used with: those of its pipeline's own call in diffusers."""

import inspect
from dataclasses import dataclass
from typing import Any

from editor.generation import module_device

TIMESTEP_DISTILLED_STEPS = 4
"""FLUX.1 schnell, whose transformer has no guidance input, is distilled to one to four steps without guidance."""


@dataclass(frozen=True)
class FamilyDefaults:
    """How images are generated unless a request says otherwise."""

    steps: int
    guidance: float
    size: tuple[int, int] | None
    """Height and width in pixels; None if neither the model nor its pipeline states them."""


def family_defaults(pipeline: Any) -> FamilyDefaults:
    """Return the settings of the pipeline's own call, and the size that the model was trained on."""
    if is_timestep_distilled(pipeline):
        return FamilyDefaults(TIMESTEP_DISTILLED_STEPS, 0.0, module_device.native_size(pipeline))
    parameters = inspect.signature(type(pipeline).__call__).parameters
    guidance = [parameters[name].default for name in ("guidance_scale", "true_cfg_scale") if name in parameters]
    return FamilyDefaults(
        steps=int(parameters["num_inference_steps"].default),
        guidance=next((float(value) for value in guidance if value is not None), 1.0),
        size=module_device.native_size(pipeline),
    )


def is_timestep_distilled(pipeline: Any) -> bool:
    """Return whether a pipeline is that of FLUX.1 schnell."""
    return type(pipeline).__name__ == "FluxPipeline" and not pipeline.transformer.config.guidance_embeds
