"""The request decides before the model's profile, and the profile before the family."""

from typing import Any

from api_schemas.edits import Validation
from editor.emoji.profile import PROFILE
from editor.generation.config import Sampler
from editor.generation.device import DeviceSettings
from editor.jobs.sampler_settings import choose_sampler
from editor.prompts.profile import general_profile
from tests.fakes.pipelines import shared_pipeline

CPU = DeviceSettings(device="cpu").resolve()


def choose(**options: Any) -> Sampler:
    return choose_sampler(Validation(**options), PROFILE, shared_pipeline("stable-diffusion-1"), CPU)


def test_profile_decides_before_the_family() -> None:
    family = choose_sampler(Validation(), general_profile(), shared_pipeline("stable-diffusion-1"), CPU)
    assert (choose().steps, choose().guidance) == (20, 3.0)
    assert (family.steps, family.guidance) == (30, 7.5)
    assert family.size == choose().size == (16, 16)


def test_request_decides_before_the_profile() -> None:
    chosen = choose(steps=7, guidance=0, height=64, width=96)
    assert (chosen.steps, chosen.guidance, chosen.size) == (7, 0.0, (64, 96))
