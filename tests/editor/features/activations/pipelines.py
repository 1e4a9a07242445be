"""The tiny pipelines as activations are read from them: on noise of DDIM, and with large random weights."""

from functools import cache
from typing import Any

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from tests.fakes.pipelines import make_pipeline

UNET_BLOCKS = ("down_blocks.0", "mid_block", "up_blocks.0", "up_blocks.1")
BLOCKS = {
    "stable-diffusion-1": UNET_BLOCKS,
    "sdxl": UNET_BLOCKS,
    "sd3": ("transformer_blocks.0", "transformer_blocks.1"),
    "flux": ("transformer_blocks.0", "single_transformer_blocks.0"),
    "pixart": ("transformer_blocks.0", "transformer_blocks.1"),
    "dit": ("transformer_blocks.0", "transformer_blocks.1"),
}
"""The blocks of each family that are read."""

SEED = 3
"""Of the weights: random kernels can be strongest beside their centre, and then a local change is strongest there too."""


def latents_of(family: str, rows: int = 1) -> Tensor:
    """Return latents that are not square, to detect transposed maps; diffusers' DiT supports squares only."""
    size = (16, 16) if family == "dit" else (8, 16)
    return torch.randn(rows, 4, *size, generator=torch.Generator().manual_seed(1))


@cache
def pipeline_of(family: str) -> Any:
    """Return a cached pipeline, not to be modified; every weight is large enough that no path is hidden."""
    pipeline = make_pipeline(family)
    backbone = getattr(pipeline, "unet", None) or pipeline.transformer
    torch.manual_seed(SEED)
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.normal_(std=0.2)
    flows = isinstance(pipeline.scheduler, FlowMatchEulerDiscreteScheduler)
    pipeline.scheduler = (
        FlowMatchEulerDiscreteScheduler() if flows else DDIMScheduler(clip_sample=False, steps_offset=1)
    )
    return pipeline
