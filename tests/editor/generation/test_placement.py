"""Options of placement: memory layout, TF32 and compilation, each on the devices that it is for."""

from functools import partialmethod
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from editor.generation import placement
from editor.generation.config import ImageSpec, Sampler
from editor.generation.device import ComputeDevice, DeviceSettings, Precision
from editor.generation.module_device import denoiser_of
from editor.generation.placement import allow_tf32, place_pipeline
from editor.generation.sampling import generate_images
from tests.fakes.pipelines import make_pipeline, shared_pipeline

SPECS = [ImageSpec("a fox", 1), ImageSpec("an owl", 2)]


@pytest.fixture
def unmoved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the weights where they are: this machine may have no such device."""
    monkeypatch.setattr(placement, "move_pipeline", lambda pipeline, device: None)


def draw(pipeline: Any) -> np.ndarray:
    return np.stack(generate_images(pipeline, Sampler(2, 3.0, height=16, width=16), SPECS)).astype(int)


@pytest.mark.parametrize(
    ("device", "precision", "allowed"),
    [
        ("cuda", "bfloat16", True),
        ("cuda:1", "float16", True),
        ("cuda", "float32", False),
        ("cpu", "bfloat16", None),
        ("mps", "float16", None),
    ],
)
def test_tf32_is_for_gpus_that_need_not_compute_in_float32(
    monkeypatch: pytest.MonkeyPatch, device: str, precision: Precision, allowed: bool | None
) -> None:
    matmul, cudnn = (SimpleNamespace(allow_tf32=not allowed) for _ in range(2))
    monkeypatch.setattr(torch.backends, "cuda", SimpleNamespace(matmul=matmul))
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    allow_tf32(ComputeDevice(torch.device(device), precision))
    assert [matmul.allow_tf32, cudnn.allow_tf32] == [not allowed if allowed is None else allowed] * 2


@pytest.mark.usefixtures("unmoved")
@pytest.mark.parametrize(("device", "expected"), [("cpu", True), ("cuda", True), ("mps", False)])
def test_unet_is_channels_last_where_convolutions_gain(device: str, expected: bool) -> None:
    pipeline = place_pipeline(make_pipeline("sdxl"), ComputeDevice(torch.device(device), "bfloat16"))
    weight = pipeline.unet.mid_block.resnets[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last) == expected


@pytest.mark.parametrize(("family", "backend"), [("stable-diffusion-1", "eager"), ("flux", "aot_eager")])
def test_compiled_denoiser_generates_the_same_images(
    monkeypatch: pytest.MonkeyPatch, family: str, backend: str
) -> None:
    """The default backend needs a compiler of C++ and minutes; these two go the same way up to the generated code."""
    graphs: list[Any] = []

    def compile_counted(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend=compile_counted))
    pipeline = place_pipeline(make_pipeline(family), DeviceSettings("cpu", "float32", compile=True).resolve())
    assert denoiser_of(pipeline)._compiled_call_impl is not None
    assert np.abs(draw(pipeline) - draw(shared_pipeline(family))).max() <= 1
    assert graphs
