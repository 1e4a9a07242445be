"""Batches that do not fit the memory are halved, and a ceiling limits them from the start."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from editor.errors import DeviceError
from editor.generation import sampling
from editor.generation.batch_size import BatchSize, batch_size_of, is_out_of_memory
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.device import DeviceSettings
from editor.generation.placement import place_pipeline
from editor.generation.sampling import generate_images
from tests.fakes.pipelines import make_pipeline

SPECS = [ImageSpec("a fox", seed) for seed in range(40)]
SAMPLER = Sampler(2, 3.0)


def limit_memory(monkeypatch: pytest.MonkeyPatch, images: int) -> list[int]:
    """Let every larger batch run out of memory. Returns the list of the batches that are tried."""
    tried: list[int] = []

    def generate(pipeline: Any, sampler: Sampler, specs: Sequence[ImageSpec], progress: Any) -> list[Image]:
        tried.append(len(specs))
        if len(specs) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return [np.full((1, 1, 3), spec.seed, dtype=np.uint8) for spec in specs]

    monkeypatch.setattr(sampling, "generate_batch", generate)
    return tried


def test_batch_is_halved_until_it_fits_and_stays_small(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, tried = make_pipeline("stable-diffusion-1"), limit_memory(monkeypatch, 8)
    images = generate_images(pipeline, SAMPLER, SPECS)
    assert [int(image[0, 0, 0]) for image in images] == list(range(40))
    assert tried == [32, 16, 8, 8, 8, 8, 8]
    generate_images(pipeline, SAMPLER, SPECS[:16])
    assert tried[7:] == [8, 8]
    assert (batch_size_of(pipeline).images, batch_size_of(pipeline).exceeded) == (8, [32, 16])


def test_one_image_that_does_not_fit_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 0)
    with pytest.raises(DeviceError, match="one image") as caught:
        generate_images(make_pipeline("stable-diffusion-1"), SAMPLER, SPECS[:3])
    assert "EXPUNGE_OFFLOAD" in caught.value.remedy


def test_one_image_above_the_ceiling_that_does_not_fit_is_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 0)
    pipeline = make_pipeline("stable-diffusion-1")
    batch_size_of(pipeline).memory = 10**9
    with pytest.raises(DeviceError, match="one image"):
        generate_images(pipeline, SAMPLER, SPECS[:3])


def test_other_errors_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> list[Image]:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(sampling, "generate_batch", fail)
    with pytest.raises(RuntimeError, match="shapes"):
        generate_images(make_pipeline("stable-diffusion-1"), SAMPLER, SPECS[:3])


def test_out_of_memory_is_recognised_in_the_words_of_each_device() -> None:
    assert is_out_of_memory(RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory"))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(RuntimeError("memory format is not supported"))


def test_memory_ceiling_limits_the_batch_to_what_one_image_needs() -> None:
    """The images are those of a run without a ceiling; a batch takes about its number of images times the memory of one."""
    free, limited = make_pipeline("stable-diffusion-1"), make_pipeline("stable-diffusion-1")
    place_pipeline(limited, DeviceSettings("cpu", "float32", memory=400_000).resolve())
    expected = generate_images(free, SAMPLER, SPECS[:6])
    found = generate_images(limited, SAMPLER, SPECS[:6])
    assert 1 <= batch_size_of(limited).images < 6
    assert np.abs(np.stack(found).astype(int) - np.stack(expected)).max() <= 1
    assert batch_size_of(free) == BatchSize()
