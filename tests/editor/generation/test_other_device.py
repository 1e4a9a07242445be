"""Every tensor is made on the device and in the dtype of the module that reads it."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from editor.generation.config import Sampler
from editor.generation.device import ComputeDevice, DeviceSettings
from editor.generation.edited_weights import copy_with_updates, edited_weights
from editor.generation.placement import place_pipeline
from editor.generation.sampling import generate_images
from tests.editor.generation.test_edited_weights import OUT_PROJ, update_of
from tests.editor.generation.test_families import SPECS, sampler_of, unit_images
from tests.fakes.device import register_device
from tests.fakes.pipelines import FAMILIES, make_pipeline, shared_pipeline


def placed(family: str, precision: Any = "float32", **settings: Any) -> Any:
    """Return a pipeline on the test device, in a precision."""
    device = ComputeDevice(register_device(), precision, DeviceSettings(**settings))
    return place_pipeline(make_pipeline(family).to(dtype=device.dtype), device)


@cache
def cpu_images(family: str) -> np.ndarray:
    return unit_images(generate_images(shared_pipeline(family), sampler_of(family), SPECS))


def difference(pipeline: Any, family: str, sampler: Sampler) -> float:
    return float(np.abs(unit_images(generate_images(pipeline, sampler, SPECS)) - cpu_images(family)).mean())


@pytest.mark.parametrize("family", FAMILIES)
def test_images_are_those_of_the_cpu(family: str) -> None:
    assert difference(placed(family), family, sampler_of(family)) < 1e-4


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize("family", ["sdxl", "sd3", "flux"])
def test_low_precision_generates_nearly_the_same_images(family: str, precision: Any) -> None:
    """The noise of a seed is that of float32; other noise would change the image by 0.1 and more."""
    pipeline = placed(family, precision)
    assert pipeline.vae.dtype == (torch.float32 if family == "sdxl" else getattr(torch, precision))
    assert difference(pipeline, family, sampler_of(family, precision=precision)) < 0.03


@pytest.mark.parametrize(("family", "offload"), [("stable-diffusion-1", "model"), ("flux", "sequential")])
def test_offloaded_weights_are_edited_and_restored(family: str, offload: Any) -> None:
    pipeline, sampler = placed(family, offload=offload), sampler_of(family)
    updates = [update_of(shared_pipeline(family), "text_encoder", OUT_PROJ)]
    edited = copy_with_updates(shared_pipeline(family), updates)
    expected = unit_images(generate_images(edited, sampler, SPECS))
    with edited_weights(pipeline, updates):
        found = unit_images(generate_images(pipeline, sampler, SPECS))
    assert np.abs(found - expected).mean() < 1e-4
    assert np.abs(found - cpu_images(family)).mean() > 1e-3, "the edit has an effect"
    assert difference(pipeline, family, sampler) < 1e-4
    copied = unit_images(generate_images(copy_with_updates(pipeline, updates), sampler, SPECS))
    assert np.abs(copied - expected).mean() < 1e-4
    assert difference(pipeline, family, sampler) < 1e-4, "the copy leaves the original as it is"


def test_tensor_on_the_wrong_device_is_an_error() -> None:
    """The test device refuses what a GPU refuses."""
    there = torch.ones(2, device=register_device())
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(2)
    with pytest.raises(RuntimeError, match="generator"):
        torch.randn(2, device=there.device, generator=torch.Generator())
    with pytest.raises((RuntimeError, TypeError), match="numpy"):
        there.numpy()
    assert (there + torch.tensor(1.0)).cpu().tolist() == [2.0, 2.0]
