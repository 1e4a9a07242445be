"""A job with every model on another device than the CPU: trace, edit, images, judge, drift and attacks."""

from pathlib import Path

import pytest

from api_schemas.attacks import ENABLED, Attacks
from editor import jobs
from editor.generation.device import ComputeDevice, DeviceSettings
from tests.editor.jobs.test_families import make_context, small_images
from tests.fakes.device import DEVICE, register_device

__all__ = ["small_images"]
NAMES = sorted(set(Attacks.model_fields) - {"plugins", "languages"})


def test_job_runs_on_another_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor that is made on the wrong device raises an error."""
    monkeypatch.setattr(
        DeviceSettings, "resolve", lambda settings: ComputeDevice(register_device(), "float32", settings)
    )
    quick = ENABLED.model_copy(update={"budget": 2, "images": 1}).model_dump()
    job = jobs.EraseJob(make_context("stable-diffusion-1", tmp_path, attacks=dict.fromkeys(NAMES, quick)))
    result = job.validate()
    assert result.validation is not None
    assert result.validation.sampler.device == DEVICE
    assert [attack.name for attack in result.attacks if attack.skipped] == []
    assert sorted(attack.name for attack in result.attacks) == NAMES
