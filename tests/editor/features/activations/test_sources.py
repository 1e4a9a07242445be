"""Activation sources, compared with the pipelines themselves: backbone inputs, noise, and the conditional half."""

from inspect import signature
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations.backbone_inputs import run_backbone
from editor.features.activations.encoder_source import ImageEmbeddings, TextLayers
from editor.features.activations.hooks import capture
from editor.features.activations.noised_source import (
    NoisedImages,
    activations_at_timestep,
    add_noise,
    encode_pixels,
    seeded_noise,
)
from editor.features.activations.sampling_source import GenerationSteps
from editor.generation.config import ImageSpec, Sampler
from tests.editor.features.activations.pipelines import BLOCKS, latents_of, pipeline_of

PROMPTED = tuple(family for family in BLOCKS if family != "dit")
STEPS = 3
BLOCK = "mid_block"


def run_pipeline(
    pipeline: Any, prompt: str, block: str, **options: Any
) -> tuple[list[int], list[Tensor], list[Tensor]]:
    """Run a pipeline and return the timesteps, and the latents and the block's maps at each step."""
    times: list[int] = []
    latents: list[Tensor] = []
    maps: list[Tensor] = []
    with capture(pipeline, [block]) as seen:

        def after_step(_: Any, __: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            return keep(timestep, values["latents"]) or values

        def keep(timestep: Any, now: Tensor) -> None:
            times.append(int(timestep))
            latents.append(now.clone())
            maps.append(seen[block].clone())

        new = "callback_on_step_end" in signature(type(pipeline).__call__).parameters
        callback = {"callback_on_step_end": after_step} if new else {"callback": lambda _, *now: keep(*now)}
        pipeline(prompt, num_inference_steps=STEPS, output_type="latent", **callback, **options)
    return times, latents, maps


@pytest.mark.parametrize("family", PROMPTED)
def test_backbone_inputs_match_those_of_the_pipeline(family: str) -> None:
    pipeline, block = pipeline_of(family), BLOCKS[family][-1]
    first = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
    given = pipeline._pack_latents(first, 1, 4, 8, 8) if family == "flux" else first
    size = {} if family in ("stable-diffusion-1", "sdxl", "pixart") else {"height": 16, "width": 16}
    extra = {"use_resolution_binning": False, "clean_caption": False} if family == "pixart" else {}
    off = 3.5 if family == "flux" else 1.0
    times, _, maps = run_pipeline(pipeline, "a fox", block, latents=given, guidance_scale=off, **size, **extra)
    with torch.no_grad(), capture(pipeline, [block]) as found:
        run_backbone(pipeline, first, times[0], ["a fox"])
    torch.testing.assert_close(found[block], maps[0], rtol=1e-4, atol=1e-5)


def test_dit_gets_the_null_class_and_rejects_prompts() -> None:
    pipeline, latents = pipeline_of("dit"), latents_of("dit")
    seen: list[Any] = []
    handle = pipeline.transformer.register_forward_pre_hook(
        lambda _, __, named: seen.append(named["class_labels"]), with_kwargs=True
    )
    run_backbone(pipeline, latents, 10, [""])
    handle.remove()
    assert seen[0].tolist() == [10]  # of ten classes
    with pytest.raises(FeatureError, match="does not accept prompts"):
        run_backbone(pipeline, latents, 10, ["a fox"])


def test_unsupported_backbone_is_rejected() -> None:
    with pytest.raises(FeatureError, match="Linear"):
        run_backbone(torch.nn.Linear(1, 1), torch.zeros(1, 4, 8, 8), 0, [""])


@pytest.mark.parametrize("timestep", [0, 25, 500, 999])
def test_add_noise_matches_the_scheduler(timestep: int) -> None:
    pipeline, clean = pipeline_of("stable-diffusion-1"), latents_of("stable-diffusion-1", 2)
    noise = torch.randn_like(clean)
    expected = pipeline.scheduler.add_noise(clean, noise, torch.tensor([timestep, timestep]))
    torch.testing.assert_close(add_noise(pipeline, clean, noise, timestep), expected)


def test_add_noise_matches_the_flow_matching_scheduler() -> None:
    pipeline, clean = pipeline_of("sd3"), latents_of("sd3")
    scheduler = FlowMatchEulerDiscreteScheduler()
    noise, timestep = torch.randn_like(clean), scheduler.timesteps[300]
    expected = scheduler.scale_noise(clean, timestep[None], noise)
    torch.testing.assert_close(add_noise(pipeline, clean, noise, int(timestep)), expected)


def test_pixels_are_encoded_without_sampling() -> None:
    pipeline = pipeline_of("stable-diffusion-1")
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    moments = pipeline.vae.quant_conv(pipeline.vae.encoder(image))
    expected = moments[:, :4] * pipeline.vae.config.scaling_factor
    torch.testing.assert_close(encode_pixels(pipeline, image), expected)


def test_seeded_noise_does_not_depend_on_the_batch() -> None:
    every = seeded_noise((4, 2, 2), 0, range(6))
    assert torch.equal(seeded_noise((4, 2, 2), 0, range(3, 5)), every[3:5])
    assert len({tuple(own.flatten().tolist()) for own in every}) == 6
    assert not torch.equal(seeded_noise((4, 2, 2), 1, range(6)), every)


def test_maps_do_not_depend_on_the_batch_and_noise_differs_between_timesteps() -> None:
    pipeline = pipeline_of("stable-diffusion-1")
    source = NoisedImages(pipeline, latents_of("stable-diffusion-1", 4), [BLOCK], [25, 200])
    with torch.no_grad():
        whole, part = source.maps(range(4)), source.maps(range(2, 4))
    for key, own in part.items():
        torch.testing.assert_close(own, whole[key][2:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(whole[BLOCK, 25], whole[BLOCK, 200])


def test_prompts_change_activations_and_provenance() -> None:
    pipeline, clean = pipeline_of("stable-diffusion-1"), latents_of("stable-diffusion-1", 2)
    noise = torch.randn_like(clean)
    empty = activations_at_timestep(pipeline, clean, noise, 25, [BLOCK])[BLOCK]
    one = activations_at_timestep(pipeline, clean, noise, 25, [BLOCK], ["a fox", ""])[BLOCK]
    assert not torch.allclose(one[0], empty[0], atol=1e-4)
    torch.testing.assert_close(one[1], empty[1], rtol=1e-4, atol=1e-5)
    silent, told = (NoisedImages(pipeline, clean, [BLOCK], [25], prompts=p).provenance for p in (None, ["a fox", ""]))
    assert silent["model"] != told["model"]


def test_generation_records_the_conditional_half_at_each_step() -> None:
    pipeline, prompt = pipeline_of("stable-diffusion-1"), "a fox"
    source = GenerationSteps(
        pipeline, [ImageSpec("an owl", 3), ImageSpec(prompt, 7)], Sampler(STEPS, 3.0), [BLOCK], [0, 2]
    )
    found = source.maps(range(2))
    times, latents, _ = run_pipeline(
        pipeline, prompt, BLOCK, guidance_scale=3.0, generator=torch.Generator().manual_seed(7)
    )
    assert list(found) == [(BLOCK, times[0]), (BLOCK, times[2])]
    with torch.no_grad(), capture(pipeline, [BLOCK]) as seen:
        run_backbone(pipeline, latents[1], times[2], [prompt])
    torch.testing.assert_close(found[BLOCK, times[2]][1:], seen[BLOCK], rtol=1e-3, atol=1e-4)


def test_text_layers_are_recorded_at_the_end_of_text_token() -> None:
    pipeline = pipeline_of("stable-diffusion-1")
    source = TextLayers(pipeline.text_encoder, pipeline.tokenizer, ["a fox", "a picture of an owl"], [0, 1])
    with torch.no_grad():
        found = source.maps(range(2))
        for row, prompt in enumerate(source.prompts):
            # Unpadded, the end is the last token; causal attention makes padding irrelevant to it.
            ids = pipeline.tokenizer(prompt, return_tensors="pt")["input_ids"]
            states = pipeline.text_encoder(input_ids=ids, output_hidden_states=True).hidden_states
            for layer in source.layers:
                expected = states[layer + 1][0, -1]
                torch.testing.assert_close(found[f"layers.{layer}", 0][row, :, 0, 0], expected, rtol=1e-4, atol=1e-5)


def test_text_tokens_become_a_map_of_one_row() -> None:
    pipeline = pipeline_of("stable-diffusion-1")
    source = TextLayers(pipeline.text_encoder, pipeline.tokenizer, ["a fox"], [0], "tokens")
    with torch.no_grad():
        (found,) = source.maps(range(1)).values()
    ids = pipeline.tokenizer("a fox", padding="max_length", return_tensors="pt")["input_ids"]
    states = pipeline.text_encoder(input_ids=ids, output_hidden_states=True).hidden_states[1]
    torch.testing.assert_close(found[0, :, 0], states[0].T)


def test_image_embeddings_become_maps_of_one_position() -> None:
    module = torch.nn.Linear(3, 5)
    images = [torch.full((2, 2, 3), value, dtype=torch.uint8).numpy() for value in (1, 2, 3)]
    source = ImageEmbeddings(
        lambda own: module(torch.stack([torch.from_numpy(image).float().mean((0, 1)) for image in own])), module, images
    )
    (found,) = source.maps(range(1, 3)).values()
    assert found.shape == (2, 5, 1, 1)
    torch.testing.assert_close(found[0, :, 0, 0], module(torch.full((3,), 2.0)))
    assert source.provenance != ImageEmbeddings(source.embed, module, images[::-1]).provenance
