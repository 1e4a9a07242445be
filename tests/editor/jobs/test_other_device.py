"""A job with every model on another device than the CPU and in bfloat16: trace, edit, images, judge, drift and attacks."""

from pathlib import Path

import pytest

from api_schemas.attacks import ENABLED
from editor import jobs
from editor.generation.device import ComputeDevice, DeviceSettings
from tests.editor.jobs.test_families import make_context, small_job
from tests.fakes.device import DEVICE, register_device

__all__ = ["small_job"]
NAMES = ["adversarial_key", "inversion_images", "inversion_text", "noise_probe", "resurgence", "ring_a_bell_transfer"]
"""Attacks that compute with states, latents and gradients; the others only generate images of prompts."""


def test_job_runs_on_another_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor that is made on the wrong device, or in another dtype than the weights, raises an error."""
    monkeypatch.setattr(
        DeviceSettings, "resolve", lambda settings: ComputeDevice(register_device(), "bfloat16", settings)
    )
    quick = ENABLED.model_copy(update={"budget": 2, "images": 1}).model_dump()
    job = jobs.EraseJob(
        make_context("stable-diffusion-1", tmp_path, prompts=1, retain_prompts=1, attacks=dict.fromkeys(NAMES, quick))
    )
    result = job.validate()
    assert result.validation is not None
    assert result.validation.sampler.device == DEVICE
    assert [attack.name for attack in result.attacks if attack.skipped] == []
    assert sorted(attack.name for attack in result.attacks) == NAMES
