"""Generated images match those of the diffusers pipeline."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from editor import emoji
from editor.generation.cfg_sharing import DeduplicatedModule, share_cfg_halves, unconditioned_modules
from editor.generation.config import ImageSpec, Sampler
from editor.generation.cpu_optimizations import (
    ContiguousGroupNorm,
    LengthDispatchedAttnProcessor,
    SplitGEGLU,
    cpu_fast_path,
)
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import ImageCache, generate_images

SPECS = [
    ImageSpec("a fox in the style of noto", 1),
    ImageSpec("a pizza, ink", 2),
    ImageSpec("a fox in the style of noto", 3),
]


def unet(**more: Any) -> UNet2DConditionModel:
    torch.manual_seed(0)
    blocks = {
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
    settings = {"block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 16, "sample_size": 8}
    return UNet2DConditionModel(norm_num_groups=8, attention_head_dim=2, **(blocks | settings | more)).eval()


@torch.no_grad()
def test_shared_guidance_halves_are_computed_once() -> None:
    model, latents, words = unet(), torch.randn(3, 4, 8, 8), torch.randn(6, 5, 16)
    doubled, time = torch.cat([latents, latents]), torch.full((6,), 300)
    plain = model(doubled, time, words).sample
    rows: list[int] = []
    model.down_blocks[0].resnets[0].register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    with share_cfg_halves(model):
        shared = model(doubled, time, words).sample
    assert rows == [3]
    assert (shared - plain).abs().max() < 1e-5
    assert (shared[:3] - shared[3:]).abs().max() > 1e-3, "the prompt still makes the halves differ"
    assert not any(isinstance(module, DeduplicatedModule) for module in model.modules())


def test_halves_that_differ_from_the_start_are_not_shared() -> None:
    extra = {"addition_embed_type": "text", "encoder_hid_dim": 16}
    assert unconditioned_modules(unet(**extra)) == []
    first_without = {
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    }
    assert unconditioned_modules(unet(**first_without)) == []


@torch.no_grad()
def test_cpu_fast_path_preserves_outputs_and_is_undone() -> None:
    """Sequences of 144 positions use the fused kernel, those of 36 the unfused one."""
    model, latents, words = unet(), torch.randn(2, 4, 12, 12), torch.randn(4, 5, 16)
    doubled, time = torch.cat([latents, latents]).to(memory_format=torch.channels_last), torch.full((4,), 300)
    plain, own = model(doubled, time, words).sample, {name: type(m) for name, m in model.named_modules()}
    with cpu_fast_path(model):
        kinds = {type(module) for module in model.modules()}
        attention = model.mid_block.attentions[0].transformer_blocks[0].attn1
        assert {SplitGEGLU, ContiguousGroupNorm} <= kinds
        assert isinstance(attention.processor, LengthDispatchedAttnProcessor)
        assert (model(doubled, time, words).sample - plain).abs().max() < 1e-5
    assert {name: type(m) for name, m in model.named_modules()} == own
    assert not isinstance(attention.processor, LengthDispatchedAttnProcessor)


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return load_pipeline(emoji.WEIGHTS)


def test_images_match_the_pipeline(pipeline: Any) -> None:
    """diffusers generates one image at a time, ours a batch."""
    sampler = Sampler(4, 3.0)
    expected = [
        pipeline(
            spec.prompt,
            num_inference_steps=4,
            guidance_scale=3.0,
            generator=torch.Generator().manual_seed(spec.seed),
            output_type="np",
        ).images[0]
        for spec in SPECS
    ]
    found = np.stack(generate_images(pipeline, sampler, SPECS)).astype(float) / 255
    assert np.abs(found - np.stack(expected)).max() <= 0.5 / 255 + 1e-3
    rough = np.stack(generate_images(pipeline, Sampler(4, 3.0, "bfloat16"), SPECS)).astype(float) / 255
    assert np.abs(rough - found).mean() <= 2e-3


def test_image_does_not_depend_on_its_batch(pipeline: Any) -> None:
    together, alone = (
        generate_images(pipeline, Sampler(2, 3.0), SPECS),
        generate_images(pipeline, Sampler(2, 3.0), SPECS[1:2]),
    )
    assert np.abs(together[1].astype(int) - alone[0].astype(int)).max() <= 1


class SharedImages(dict[str, bytes]):
    """A shared cache in memory."""

    def put(self, key: str, content: bytes) -> None:
        self[key] = content


def test_generated_images_have_the_memory_layout_of_cached_ones(pipeline: Any, tmp_path: Path) -> None:
    """Otherwise the last bits of sums over pixels, such as SSIM, would depend on what a cache holds."""
    cache, sampler = ImageCache(tmp_path, "digest"), Sampler(steps=1, guidance=3.0)
    generated, cached = (cache.generate(pipeline, sampler, SPECS[:2]) for _ in range(2))
    assert [image.strides for image in generated] == [image.strides for image in cached]
    assert np.stack(generated).strides == np.stack(cached).strides


def test_workers_share_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its own folder. A damaged image is generated again, and repaired."""
    generated: list[ImageSpec] = []

    def fake_generate(pipeline: Any, sampler: Sampler, specs: list[ImageSpec], *callbacks: Any) -> list[np.ndarray]:
        generated.extend(specs)
        return [np.full((8, 8, 3), spec.seed, dtype=np.uint8) for spec in specs]

    monkeypatch.setattr("editor.generation.sampling.generate_images", fake_generate)
    shared = SharedImages()
    sampler = Sampler(4, 3.0)
    first = ImageCache(tmp_path / "one", "a", shared).generate(None, sampler, SPECS)
    generated.clear()
    second = ImageCache(tmp_path / "two", "a", shared).generate(None, sampler, SPECS)
    assert generated == []
    assert np.array_equal(first, second)
    for damaged in (b"", b"not an image", shared[key := min(shared)][:-30]):
        intact = shared[key]
        shared[key] = damaged
        third = ImageCache(tmp_path / f"three-{len(damaged)}", "a", shared).generate(None, sampler, SPECS)
        assert len(generated) == 1
        assert np.array_equal(first, third)
        assert shared[key] == intact
        generated.clear()
    ImageCache(tmp_path / "two", "b", shared).generate(None, sampler, SPECS[:1])
    assert generated == SPECS[:1]


def test_images_of_other_devices_and_precisions_are_not_shared(tmp_path: Path) -> None:
    cache, spec = ImageCache(tmp_path, "digest"), ImageSpec("a fox", 0)
    samplers = [
        Sampler(4, 3.0, precision, device=device) for precision in ("float32", "bfloat16") for device in ("cpu", "cuda")
    ]
    assert len({cache.key(sampler, spec) for sampler in samplers}) == len(samplers)


def test_cache_generates_only_missing_images_per_model_and_sampler(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generated: list[ImageSpec] = []

    def fake_generate(pipeline: Any, sampler: Sampler, specs: list[ImageSpec], *callbacks: Any) -> list[np.ndarray]:
        generated.extend(specs)
        return [np.full((8, 8, 3), spec.seed, dtype=np.uint8) for spec in specs]

    monkeypatch.setattr("editor.generation.sampling.generate_images", fake_generate)
    cache, other = ImageCache(tmp_path, "a"), ImageCache(tmp_path, "b")
    cache.generate(None, Sampler(4, 3.0), SPECS[:2])
    again = cache.generate(None, Sampler(4, 3.0), SPECS)
    assert generated == SPECS
    assert [int(image[0, 0, 0]) for image in again] == [1, 2, 3]
    cache.generate(None, Sampler(5, 3.0), SPECS[:1])
    cache.generate(None, Sampler(4, 3.0, "bfloat16"), SPECS[:1])
    other.generate(None, Sampler(4, 3.0), SPECS[:1])
    assert len(generated) == 6
