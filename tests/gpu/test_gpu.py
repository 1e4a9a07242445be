"""Generation and whole jobs on a GPU, with random weights at the geometry of Stable Diffusion 1.5, SDXL and FLUX.1.

Run them with `make gpu` on a machine with a GPU; figures are printed at the end of each test. They need torch, transformers,
diffusers and this project, and no download.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from editor.generation.config import Sampler
from editor.generation.device import ComputeDevice, DeviceSettings
from editor.generation.pipeline_call import call_pipeline
from editor.generation.placement import place_pipeline
from editor.generation.sampling import generate_images
from tests.gpu.measure import favourite_class, mean_difference, measure_speed, run_job, seconds, specs_of
from tests.gpu.models import (
    FLUX,
    SDXL,
    STABLE_DIFFUSION,
    flux_embeddings,
    random_flux,
    random_pipeline,
    save_random_judge,
)

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]
SIZES = {STABLE_DIFFUSION: 512, SDXL: 1024, FLUX: 1024}
STEPS, BATCH = 10, {STABLE_DIFFUSION: 32, SDXL: 16}
FLUX_GIB = 40
"""Memory of the GPU that FLUX.1 needs: 24 GB of weights in 16 bits, and its activations."""


@pytest.fixture(scope="module")
def device() -> ComputeDevice:
    return DeviceSettings(device="cuda").resolve()


@pytest.fixture(scope="module", params=[STABLE_DIFFUSION, SDXL])
def family(request: Any) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def pipeline(family: str, device: ComputeDevice) -> Iterator[Any]:
    torch.manual_seed(0)
    yield place_pipeline(random_pipeline(family, device.dtype), device)
    torch.cuda.empty_cache()


def sampler_of(device: ComputeDevice, size: int, steps: int = STEPS) -> Sampler:
    return Sampler(steps, 5.0, device.precision, height=size, width=size, device=device.torch_device.type)


def test_images_per_second(family: str, pipeline: Any, device: ComputeDevice) -> None:
    speed = measure_speed(pipeline, sampler_of(device, SIZES[family]), BATCH[family])
    print(f"\n{family}, {SIZES[family]} px, {STEPS} steps, {device.precision}: {speed.describe()}")  # noqa: T201
    assert speed.images_per_second >= speed.loop_images_per_second


def test_same_seed_gives_the_same_image_on_cpu_and_gpu() -> None:
    """In float32, at 128 pixels and 4 steps: what remains are sums in another order."""
    torch.manual_seed(0)
    settings = DeviceSettings(precision="float32")
    pipeline, sampler = random_pipeline(STABLE_DIFFUSION, torch.float32), Sampler(4, 5.0, height=128, width=128)
    images = []
    for name in ("cpu", "cuda"):
        place_pipeline(pipeline, replace(settings, device=name).resolve())
        images.append(generate_images(pipeline, replace(sampler, device=name), specs_of(2)))
    difference = mean_difference(*images)
    print(f"\nCPU against GPU, float32: mean difference {difference:.5f}")  # noqa: T201
    assert difference < 2e-3


def test_whole_job_ends_with_a_verdict_and_all_files(
    family: str, pipeline: Any, device: ComputeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, judge = tmp_path / "model", save_random_judge(tmp_path / "judge")
    pipeline.save_pretrained(model)
    monkeypatch.setenv("EXPUNGE_JUDGE", str(judge))
    monkeypatch.setenv("EXPUNGE_DEVICE", "cuda")
    concept = favourite_class(model, judge, pipeline, sampler_of(device, SIZES[family], steps=4), device)
    torch.cuda.reset_peak_memory_stats()
    figures = run_job(model, concept, tmp_path / "out", tmp_path / "cache", steps=4, size=SIZES[family])
    peak = torch.cuda.max_memory_allocated() / 2**30
    print(f"\n{family}: {figures.describe()}, peak {peak:.1f} GiB")  # noqa: T201
    assert figures.verdict in ("passed", "failed", "inconclusive")
    assert {"report.json", "delta.safetensors", "lora.safetensors"} <= set(figures.files)


def test_flux_generates_from_embeddings(device: ComputeDevice) -> None:
    if torch.cuda.mem_get_info()[1] < FLUX_GIB * 2**30:
        pytest.skip(f"FLUX.1 needs a GPU with {FLUX_GIB} GiB")
    torch.manual_seed(0)
    pipeline, size = random_flux(device), SIZES[FLUX]
    inputs, sampler = flux_embeddings(pipeline, 2), sampler_of(device, size, steps=4)
    images = call_pipeline(pipeline, sampler, inputs, [0, 1])
    each = seconds(lambda: call_pipeline(pipeline, sampler, inputs, [0, 1])) / 2
    print(f"\n{FLUX}, {size} px, 4 steps: {1 / each:.2f} images/s")  # noqa: T201
    assert images[0].shape == (size, size, 3)
