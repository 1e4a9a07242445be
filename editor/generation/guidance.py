"""How a pipeline is guided towards its prompts: the argument of its call, which differs between families."""

import inspect
from typing import Any


def guidance_arguments(pipeline: Any, guidance: float, images: int) -> dict[str, Any]:
    """Return the guidance of some images under the name that the pipeline uses for it.

    ``guidance_scale`` is classifier-free guidance, or in a guidance-distilled model (FLUX.1 dev) an input of the denoiser.
    Qwen-Image and FLUX models that are not distilled are guided by ``true_cfg_scale`` with a negative prompt.
    """
    if is_undistilled_flux(pipeline):
        return {"true_cfg_scale": guidance, "negative_prompt": [""] * images}
    accepted = inspect.signature(pipeline.__call__).parameters
    scale = accepted.get("guidance_scale")
    if "true_cfg_scale" in accepted and (scale is None or scale.default is None):
        return {"true_cfg_scale": guidance, "negative_prompt": [" "] * images}
    return {"guidance_scale": guidance}


def is_timestep_distilled(pipeline: Any) -> bool:
    """Return whether a pipeline is that of FLUX.1 schnell."""
    return has_no_guidance_input(pipeline) and not shifts_by_size(pipeline)


def is_undistilled_flux(pipeline: Any) -> bool:
    """Return whether a pipeline is that of FLUX with a transformer that was trained without distillation, or after it again.

    Such a transformer has no guidance input, and the schedule of FLUX.1 dev, which depends on the size of the image.
    """
    return has_no_guidance_input(pipeline) and shifts_by_size(pipeline)


def has_no_guidance_input(pipeline: Any) -> bool:
    """Return whether a pipeline is that of FLUX with a transformer that guidance is no input of."""
    return type(pipeline).__name__ == "FluxPipeline" and not pipeline.transformer.config.guidance_embeds


def shifts_by_size(pipeline: Any) -> bool:
    """Return whether the timesteps depend on the size of the image."""
    return bool(pipeline.scheduler.config.get("use_dynamic_shifting"))
