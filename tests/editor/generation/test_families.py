"""Every family generates the images of its own diffusers pipeline."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from editor.generation.batched_pipeline import is_batchable
from editor.generation.config import ImageSpec, Sampler
from editor.generation.sampling import generate_images
from tests.fakes.pipelines import FAMILIES, NEWER_FAMILIES, SIZES, UNET_FAMILIES, shared_pipeline

NEGATIVE_PROMPTS = {"flux-undistilled": "", "qwen-image": " "}
"""The negative prompts of families whose classifier-free guidance has an argument of its own."""
SPECS = [ImageSpec("a fox in the style of noto", 1), ImageSpec("a pizza, ink", 2)]


def sampler_of(family: str, wide: bool = False, **more: Any) -> Sampler:
    size = SIZES[family]
    return Sampler(3, 3.0, height=size, width=2 * size if wide else size, **more)


def reference(pipeline: Any, sampler: Sampler, spec: ImageSpec) -> np.ndarray:
    """Return diffusers' image of one prompt, ``(height, width, 3)`` from 0 to 1 in steps of 1 / 255."""
    fixed = {"use_resolution_binning": False, "clean_caption": False}
    accepted = inspect.signature(pipeline.__call__).parameters
    negative = next((text for family, text in NEGATIVE_PROMPTS.items() if pipeline is shared_pipeline(family)), None)
    guided = {"guidance_scale": sampler.guidance}
    guidance = guided if negative is None else {"true_cfg_scale": sampler.guidance, "negative_prompt": negative}
    image = pipeline(
        spec.prompt,
        height=sampler.height,
        width=sampler.width,
        num_inference_steps=sampler.steps,
        **guidance,
        generator=torch.Generator().manual_seed(spec.seed),
        output_type="np",
        **{name: value for name, value in fixed.items() if name in accepted},
    ).images[0]
    return (image * 255).round() / 255


def unit_images(images: list[np.ndarray]) -> np.ndarray:
    return np.stack(images).astype(float) / 255


@pytest.mark.parametrize("family", [*FAMILIES, *NEWER_FAMILIES])
def test_images_are_those_of_the_pipeline(family: str) -> None:
    """A batch of two prompts, in an image that is wider than high, against one diffusers call for each."""
    pipeline, sampler = shared_pipeline(family), sampler_of(family, wide=True)
    fractions: list[float] = []
    found = unit_images(generate_images(pipeline, sampler, SPECS, fractions.append))
    expected = np.stack([reference(pipeline, sampler, spec) for spec in SPECS])
    assert found.shape == (2, SIZES[family], 2 * SIZES[family], 3)
    assert np.abs(found - expected).mean() < 1e-3
    assert np.abs(found[0] - found[1]).mean() > 1e-2, "prompt and seed have an effect"
    assert len(fractions) >= 3
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert is_batchable(pipeline, sampler) == (family in UNET_FAMILIES)


def test_prompts_are_padded_to_no_more_than_their_tokenizer_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A T5 that was trained on 32 rows gets 32, although FLUX's pipeline pads to 512."""
    pipeline, sampler = shared_pipeline("flux"), sampler_of("flux")
    monkeypatch.setattr(pipeline.tokenizer_2, "model_max_length", 32)
    (expected,) = pipeline(
        SPECS[0].prompt, height=16, width=16, num_inference_steps=3, guidance_scale=3.0, max_sequence_length=32,
        generator=torch.Generator().manual_seed(1), output_type="np",
    ).images  # fmt: skip
    (found,) = unit_images(generate_images(pipeline, sampler, SPECS[:1]))
    assert np.abs(found - expected).mean() < 1e-3
