"""Guidance and size of a family are those of its pipeline in diffusers, and steps too, but at most 30 for a UNet."""

from types import SimpleNamespace
from typing import Any

import diffusers
import pytest

from editor.checkpoints.safe_paths import read_json
from editor.generation.pipelines import family_defaults
from editor.generation.pipelines.families import FAMILIES, read_config
from tests.fakes.pipelines import shared_pipeline

SETTINGS = {
    "stable-diffusion-1": (30, 7.5),
    "stable-diffusion-2": (30, 7.5),
    "sdxl": (30, 5.0),
    "sd3": (28, 7.0),
    "flux": (28, 3.5),
    "flux-schnell": (4, 0.0),
    "flux-undistilled": (28, 3.5),
    "pixart": (20, 4.5),
    "sana": (20, 4.5),
}
RELEASED_SIDES = {
    "stable-diffusion-1": 512,
    "stable-diffusion-2": 768,
    "stable-diffusion-2-base": 512,
    "sdxl": 1024,
    "sd3": 1024,
    "sd3.5-medium": 1024,
    "sd3.5-large": 1024,
    "flux-dev": 1024,
    "flux-schnell": 1024,
}


@pytest.mark.parametrize("family", SETTINGS)
def test_steps_and_guidance_are_those_of_the_family(family: str) -> None:
    defaults = family_defaults(shared_pipeline(family))
    assert (defaults.steps, defaults.guidance) == SETTINGS[family]


@pytest.mark.parametrize("family", RELEASED_SIDES)
def test_size_is_that_of_the_released_model(family: str) -> None:
    folder = FAMILIES / family
    index: Any = diffusers.DiffusionPipeline.load_config(folder)
    name = "unet" if (folder / "unet").is_dir() else "transformer"
    config = SimpleNamespace(**{"guidance_embeds": True} | read_config(folder, name))
    scheduler = SimpleNamespace(config=read_json(folder / "scheduler" / "scheduler_config.json"))
    scale = 2 ** (len(read_config(folder, "vae")["block_out_channels"]) - 1)
    pipeline_class = type(
        index["_class_name"], (getattr(diffusers, index["_class_name"]),), {"__init__": lambda self: None}
    )
    pipeline = pipeline_class()
    pipeline.__dict__.update(
        {
            name: SimpleNamespace(config=config),
            "scheduler": scheduler,
            "vae_scale_factor": scale,
            "default_sample_size": 128,
        }
    )
    assert family_defaults(pipeline).size == (RELEASED_SIDES[family],) * 2
