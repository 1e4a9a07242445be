"""Batched denoising matches the pipeline; interventions change the rows that they target, and never the unconditional half."""

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from editor.generation.batched_pipeline import BatchedPipeline
from editor.generation.config import EncoderStates, Sampler
from editor.generation.denoiser import Intervention, NoIntervention
from editor.generation.memory_budget import MemoryBudget
from editor.tracing.backbone_trace import trace_blocks
from editor.tracing.corruption import Sample, make_samples
from editor.tracing.image_readouts import collect_noisy_latents, make_noise_prediction
from editor.tracing.patched_runs import run_with_cache
from editor.tracing.patching import PatchFromClean, SwapPrompt
from editor.tracing.result import TraceSpec, sample_tuples
from editor.tracing.score_store import CLEAN, CORRUPTED, SITE_OFFSET, open_score_matrix
from editor.tracing.sites import BlockSite, block_sites, cross_attention_windows
from editor.tracing.traced_prompts import TracedPrompts

SAMPLER = Sampler(steps=3, guidance=4.0)


@pytest.fixture(scope="module")
def batched(pipeline: Any) -> BatchedPipeline:
    return BatchedPipeline(pipeline, SAMPLER)


def states_of(batched: BatchedPipeline, ids: Tensor) -> EncoderStates:
    return tuple(run_with_cache(encoder, encoder.embed(ids)).states for encoder in batched.encoders)


@pytest.mark.parametrize("name", ["pipeline", "xl"])
def test_images_match_the_diffusers_pipeline(request: pytest.FixtureRequest, name: str, fox: TracedPrompts) -> None:
    pipe = request.getfixturevalue(name)
    batched = BatchedPipeline(pipe, SAMPLER)
    ours = batched.generate(batched.conditioning_from_states(states_of(batched, fox.ids), fox.eos_positions), [5, 6, 7])
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    theirs = pipe(
        list(fox.texts), num_inference_steps=3, guidance_scale=4.0, generator=generators, output_type="np", height=16, width=16
    ).images  # fmt: skip
    assert np.abs(np.stack(ours) / 255 - theirs).max() < 1 / 255 + 1e-4


def clean_and_corrupted(
    batched: BatchedPipeline, fox: TracedPrompts, frog: Tensor
) -> tuple[EncoderStates, EncoderStates, list[Sample]]:
    """Return fox prompts as the clean runs and frog prompts as the corrupted ones."""
    return states_of(batched, fox.ids), states_of(batched, frog), make_samples(3, 1, (5,))


@pytest.fixture(scope="module")
def frog(builder: Any, fox: TracedPrompts) -> Tensor:
    ids: Tensor = builder.token_ids([text.replace("fox", "frog") for text in fox.texts])
    return ids


def final_latents(
    batched: BatchedPipeline,
    states: EncoderStates,
    fox: TracedPrompts,
    seeds: list[int],
    intervention: Intervention | None = None,
) -> Tensor:
    ends = fox.eos_positions[:1].expand(len(seeds))
    return batched.denoise(batched.conditioning_from_states(states, ends), seeds, intervention)[0]


def relative_difference(one: Tensor, other: Tensor) -> float:
    """Relative distance: random weights give large latents."""
    return float((one - other).norm() / other.norm())


def test_patching_all_blocks_gives_the_clean_image_and_none_the_corrupted(
    batched: BatchedPipeline, fox: TracedPrompts, frog: Tensor
) -> None:
    clean, corrupted, _ = clean_and_corrupted(batched, fox, frog)
    rows = tuple(torch.cat([c[:1], k[:1], k[:1]]) for c, k in zip(clean, corrupted, strict=True))
    every = BlockSite(
        kind="block", stage="mid", modules=tuple(s.modules[0] for s in block_sites(batched.denoiser.backbone))
    )
    drawn = final_latents(batched, rows, fox, [5, 5, 5], PatchFromClean([None, None, every], [0, 0, 0]))
    plain = final_latents(batched, rows, fox, [5, 5, 5])
    assert relative_difference(drawn[2], drawn[0]) < 1e-6
    assert relative_difference(drawn[:2], plain[:2]) < 1e-5
    assert relative_difference(drawn[1], drawn[0]) > 1e-3


def test_patch_is_limited_to_a_range_of_steps(batched: BatchedPipeline, fox: TracedPrompts, frog: Tensor) -> None:
    clean, corrupted, _ = clean_and_corrupted(batched, fox, frog)
    rows = tuple(torch.cat([c[:1], *[k[:1]] * 3]) for c, k in zip(clean, corrupted, strict=True))
    first = block_sites(batched.denoiser.backbone, ("cross_attention",), (0, 1))[0]
    never, always = (first.model_copy(update={"first_step": start, "last_step": None}) for start in (3, 0))
    drawn = final_latents(batched, rows, fox, [5] * 4, PatchFromClean([None, first, never, always], [0] * 4))
    plain = final_latents(batched, rows, fox, [5] * 4)
    assert relative_difference(drawn[2], plain[2]) < 1e-5
    assert relative_difference(drawn[1], plain[1]) > 1e-4
    assert relative_difference(drawn[1], drawn[3]) > 1e-4


class Recording(NoIntervention):
    """Records the unconditional rows of every site."""

    def __init__(self, inner: Intervention) -> None:
        self.inner, self.unconditional = inner, []

    def apply(self, backbone: Any, first: int) -> Any:
        def hook(_: Any, __: Any, output: Tensor) -> None:
            self.unconditional.append(output[:first].clone())

        for site in block_sites(backbone):
            backbone.get_submodule(site.modules[0]).register_forward_hook(hook)
        return self.inner.apply(backbone, first)


@pytest.mark.parametrize("kind", ["patch", "swap"])
def test_interventions_do_not_change_the_unconditional_half(
    pipeline: Any, fox: TracedPrompts, frog: Tensor, kind: str
) -> None:
    """In the first step all latents agree, so every unconditional row has the same activations."""
    import copy

    batched = BatchedPipeline(copy.copy(pipeline), Sampler(steps=1, guidance=4.0))
    batched.pipeline.unet = copy.deepcopy(pipeline.unet)
    clean, corrupted, _ = clean_and_corrupted(batched, fox, frog)
    rows = tuple(torch.cat([c[:1], k[:1], k[:1]]) for c, k in zip(clean, corrupted, strict=True))
    site = BlockSite(
        kind="cross_attention", stage="mid", modules=("mid_block.attentions.0.transformer_blocks.0.attn2",)
    )
    intervention: Intervention = PatchFromClean([None, None, site], [0, 0, 0])
    if kind == "swap":
        intervention = SwapPrompt([None, None, site], clean[0][[0, 0, 0]])
    recording = Recording(intervention)
    drawn = final_latents(batched, rows, fox, [5, 5, 5], recording)
    assert not torch.allclose(drawn[2], drawn[1], atol=1e-5), "the conditional half is edited"
    assert len(recording.unconditional) > 10
    for half in recording.unconditional:
        torch.testing.assert_close(half[2], half[1], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(half[1], half[0], atol=1e-6, rtol=1e-6)


def make_read_out(batched: BatchedPipeline, fox: TracedPrompts, clean: EncoderStates, samples: list[Sample]) -> Any:
    def condition(states: EncoderStates, chosen: Any) -> Any:
        return batched.conditioning_from_states(states, fox.eos_positions[[s.prompt for s in chosen]])

    noisy = collect_noisy_latents(batched, condition(clean, samples), samples, 2)
    return make_noise_prediction(batched.denoiser, condition, clean, samples, noisy, batched.batch_size)


def make_spec(fox: TracedPrompts, samples: list[Sample], sites: list[BlockSite]) -> TraceSpec:
    return TraceSpec(
        model="tiny", concept="fox", attribute="object", read_out="noise", corruption="swap", seed=0,
        prompts=fox.texts, places=(), samples=sample_tuples(samples), sites=tuple(sites),
    )  # fmt: skip


@pytest.mark.parametrize("direct", [False, True])
def test_block_scores_match_a_plain_loop(
    batched: BatchedPipeline, fox: TracedPrompts, frog: Tensor, direct: bool
) -> None:
    """The loop runs one site and one sample at a time with its own hooks."""
    clean, corrupted, samples = clean_and_corrupted(batched, fox, frog)
    backbone = batched.denoiser.backbone
    sites = cross_attention_windows(backbone, 2) if direct else block_sites(backbone)
    noise = make_read_out(batched, fox, clean, samples)
    trace = trace_blocks(
        clean,
        corrupted,
        samples,
        make_spec(fox, samples, sites),
        noise,
        MemoryBudget(activation_bytes=6 * batched.bytes_per_image),
        direct=direct,
    )
    assert trace.scores[:, CLEAN].abs().max() < 1e-5
    assert (trace.scores[:, CORRUPTED] < -1e-3).all()
    for row, (column, site) in product(range(3), enumerate(sites, SITE_OFFSET)):
        wanted = score_in_loop(backbone, noise, clean[0][row], corrupted[0][row], row, site, direct)
        assert float(trace.scores[row, column]) == pytest.approx(wanted, abs=1e-4)


def score_in_loop(
    backbone: Any, noise: Any, clean: Tensor, corrupted: Tensor, row: int, site: BlockSite, direct: bool
) -> float:
    total = 0.0
    for timestep, latents, reference in zip(noise.noisy.timesteps, noise.noisy.latents, noise.reference, strict=True):
        given, handles = latents[row : row + 1], []
        for name in site.modules:
            module, kept = backbone.get_submodule(name), []
            if direct:
                swap = lambda m, a, k: (a, {**k, "encoder_hidden_states": clean[None]})  # noqa: E731
                handles.append(module.register_forward_pre_hook(swap, with_kwargs=True))
                continue
            keep = module.register_forward_hook(lambda m, a, o, kept=kept: kept.append(o))
            with torch.no_grad():
                backbone(given, timestep, clean[None])
            keep.remove()
            handles.append(module.register_forward_hook(lambda m, a, o, kept=kept: kept[0]))
        with torch.no_grad():
            predicted = backbone(given, timestep, corrupted[None]).sample
        for handle in handles:
            handle.remove()
        total -= float((predicted - reference[row]).norm() / reference[row].norm())
    return total / len(noise.reference)


def test_interrupted_trace_resumes_after_the_last_batch(
    batched: BatchedPipeline, fox: TracedPrompts, frog: Tensor, tmp_path: Any
) -> None:
    clean, corrupted, samples = clean_and_corrupted(batched, fox, frog)
    sites = block_sites(batched.denoiser.backbone, ("cross_attention",))
    asked, noise, budget = (
        make_spec(fox, samples, sites),
        make_read_out(batched, fox, clean, samples),
        MemoryBudget(max_batch_size=4),
    )
    whole = trace_blocks(clean, corrupted, samples, asked, noise, budget)
    path, seen = tmp_path / "state.safetensors", []

    class Stop(Exception):
        pass

    def stop(done: float) -> None:
        seen.append(done)
        if len(seen) == 3:
            raise Stop

    with pytest.raises(Stop):
        trace_blocks(
            clean,
            corrupted,
            samples,
            asked,
            noise,
            budget,
            open_score_matrix(3, len(sites), path, asked.fingerprint),
            stop,
        )
    kept = open_score_matrix(3, len(sites), path, asked.fingerprint)
    finished = int((~kept.scores.isnan()).sum())
    assert 0 < finished < kept.scores.numel()
    resumed = trace_blocks(clean, corrupted, samples, asked, noise, budget, kept, seen.append)
    torch.testing.assert_close(resumed.scores, whole.scores, atol=1e-6, rtol=1e-6)
    assert seen[3] > finished / kept.scores.numel(), "what was finished was not done again"
    assert open_score_matrix(3, len(sites), path, "another").scores.isnan().all()


def test_memory_of_a_batch_is_estimated(batched: BatchedPipeline, fox: TracedPrompts) -> None:
    """Rows take the same each, so the ceiling is kept by counting rows."""
    assert batched.step_peak_bytes(8) == pytest.approx(8 * batched.bytes_per_image, rel=0.1)
    assert batched.step_peak_bytes(batched.batch_size(MemoryBudget(activation_bytes=10**7))) <= 10**7
