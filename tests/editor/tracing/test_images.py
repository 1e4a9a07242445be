"""Images drawn in rows: the pipeline's own; edits reach the rows that they are for, and never the unconditional half."""

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
from editor.tracing.corruption import Sample, samples_of
from editor.tracing.image_readouts import along_the_way, noise_prediction
from editor.tracing.patched_runs import run
from editor.tracing.patching import Reading, Restoring
from editor.tracing.result import Question, as_tuples
from editor.tracing.score_store import CLEAN, CORRUPTED, OFFSET, open_values
from editor.tracing.sites import BlockSite, block_sites, cross_attention_windows
from editor.tracing.traced_prompts import Traced

SAMPLER = Sampler(steps=3, guidance=4.0)


@pytest.fixture(scope="module")
def painter(pipeline: Any) -> BatchedPipeline:
    return BatchedPipeline(pipeline, SAMPLER)


def states_of(painter: BatchedPipeline, ids: Tensor) -> EncoderStates:
    return tuple(run(tower, tower.embed(ids)).states for tower in painter.encoders)


@pytest.mark.parametrize("name", ["pipeline", "xl"])
def test_the_pipelines_own_images(request: pytest.FixtureRequest, name: str, fox: Traced) -> None:
    pipe = request.getfixturevalue(name)
    painter = BatchedPipeline(pipe, SAMPLER)
    ours = painter.generate(painter.conditioning_from_states(states_of(painter, fox.ids), fox.ends), [5, 6, 7])
    generators = [torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]
    theirs = pipe(
        list(fox.texts), num_inference_steps=3, guidance_scale=4.0, generator=generators, output_type="np", height=16, width=16
    ).images  # fmt: skip
    assert np.abs(np.stack(ours) / 255 - theirs).max() < 1 / 255 + 1e-4


def two_runs(painter: BatchedPipeline, fox: Traced, frog: Tensor) -> tuple[EncoderStates, EncoderStates, list[Sample]]:
    """Fox prompts as the clean runs, others as the corrupted ones."""
    return states_of(painter, fox.ids), states_of(painter, frog), samples_of(3, 1, (5,))


@pytest.fixture(scope="module")
def frog(book: Any, fox: Traced) -> Tensor:
    ids: Tensor = book.token_ids([text.replace("fox", "frog") for text in fox.texts])
    return ids


def final(
    painter: BatchedPipeline, states: EncoderStates, fox: Traced, seeds: list[int], edits: Intervention | None = None
) -> Tensor:
    ends = fox.ends[:1].expand(len(seeds))
    return painter.denoise(painter.conditioning_from_states(states, ends), seeds, edits)[0]


def apart(one: Tensor, other: Tensor) -> float:
    """Relative distance: random weights make large latents."""
    return float((one - other).norm() / other.norm())


def test_restoring_every_block_gives_the_clean_image_and_none_the_corrupted(
    painter: BatchedPipeline, fox: Traced, frog: Tensor
) -> None:
    clean, corrupted, _ = two_runs(painter, fox, frog)
    rows = tuple(torch.cat([c[:1], k[:1], k[:1]]) for c, k in zip(clean, corrupted, strict=True))
    every = BlockSite(
        kind="block", stage="mid", modules=tuple(s.modules[0] for s in block_sites(painter.denoiser.backbone))
    )
    drawn = final(painter, rows, fox, [5, 5, 5], Restoring([None, None, every], [0, 0, 0]))
    plain = final(painter, rows, fox, [5, 5, 5])
    assert apart(drawn[2], drawn[0]) < 1e-6
    assert apart(drawn[:2], plain[:2]) < 1e-5
    assert apart(drawn[1], drawn[0]) > 1e-3


def test_a_range_of_steps(painter: BatchedPipeline, fox: Traced, frog: Tensor) -> None:
    clean, corrupted, _ = two_runs(painter, fox, frog)
    rows = tuple(torch.cat([c[:1], *[k[:1]] * 3]) for c, k in zip(clean, corrupted, strict=True))
    first = block_sites(painter.denoiser.backbone, ("cross_attention",), (0, 1))[0]
    never, always = (first.model_copy(update={"first_step": start, "last_step": None}) for start in (3, 0))
    drawn = final(painter, rows, fox, [5] * 4, Restoring([None, first, never, always], [0] * 4))
    plain = final(painter, rows, fox, [5] * 4)
    assert apart(drawn[2], plain[2]) < 1e-5
    assert apart(drawn[1], plain[1]) > 1e-4
    assert apart(drawn[1], drawn[3]) > 1e-4


class Watching(NoIntervention):
    """Sees what enters the UNet's cross-attention."""

    def __init__(self, inside: Intervention) -> None:
        self.inside, self.halves = inside, []

    def apply(self, backbone: Any, first: int) -> Any:
        def hook(_: Any, __: Any, output: Tensor) -> None:
            self.halves.append(output[:first].clone())

        for site in block_sites(backbone):
            backbone.get_submodule(site.modules[0]).register_forward_hook(hook)
        return self.inside.apply(backbone, first)


@pytest.mark.parametrize("kind", ["restoring", "reading"])
def test_the_unconditional_half_is_untouched(pipeline: Any, fox: Traced, frog: Tensor, kind: str) -> None:
    """In the first step, where all latents agree, its activations are those of the empty prompt in every row."""
    import copy

    painter = BatchedPipeline(copy.copy(pipeline), Sampler(steps=1, guidance=4.0))
    painter.pipeline.unet = copy.deepcopy(pipeline.unet)
    clean, corrupted, _ = two_runs(painter, fox, frog)
    rows = tuple(torch.cat([c[:1], k[:1], k[:1]]) for c, k in zip(clean, corrupted, strict=True))
    site = BlockSite(
        kind="cross_attention", stage="mid", modules=("mid_block.attentions.0.transformer_blocks.0.attn2",)
    )
    edits: Intervention = Restoring([None, None, site], [0, 0, 0])
    if kind == "reading":
        edits = Reading([None, None, site], clean[0][[0, 0, 0]])
    watching = Watching(edits)
    drawn = final(painter, rows, fox, [5, 5, 5], watching)
    assert not torch.allclose(drawn[2], drawn[1], atol=1e-5), "the conditional half is edited"
    assert len(watching.halves) > 10
    for half in watching.halves:
        torch.testing.assert_close(half[2], half[1], atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(half[1], half[0], atol=1e-6, rtol=1e-6)


def read_out(painter: BatchedPipeline, fox: Traced, clean: EncoderStates, samples: list[Sample]) -> Any:
    def condition(states: EncoderStates, chosen: Any) -> Any:
        return painter.conditioning_from_states(states, fox.ends[[s.prompt for s in chosen]])

    noisy = along_the_way(painter, condition(clean, samples), samples, 2)
    return noise_prediction(painter.denoiser, condition, clean, samples, noisy, painter.batch_size)


def question(fox: Traced, samples: list[Sample], sites: list[BlockSite]) -> Question:
    return Question(
        model="tiny", concept="fox", attribute="object", read_out="noise", corruption="swap", seed=0,
        prompts=fox.texts, places=(), samples=as_tuples(samples), sites=tuple(sites),
    )  # fmt: skip


@pytest.mark.parametrize("direct", [False, True])
def test_block_sites_as_a_plain_loop_has_them(
    painter: BatchedPipeline, fox: Traced, frog: Tensor, direct: bool
) -> None:
    """One site and one sample at a time, hooks of another make, no batch."""
    clean, corrupted, samples = two_runs(painter, fox, frog)
    backbone = painter.denoiser.backbone
    sites = cross_attention_windows(backbone, 2) if direct else block_sites(backbone)
    noise = read_out(painter, fox, clean, samples)
    trace = trace_blocks(
        clean,
        corrupted,
        samples,
        question(fox, samples, sites),
        noise,
        MemoryBudget(activation_bytes=6 * painter.bytes_per_image),
        direct=direct,
    )
    assert trace.scores[:, CLEAN].abs().max() < 1e-5
    assert (trace.scores[:, CORRUPTED] < -1e-3).all()
    for row, (column, site) in product(range(3), enumerate(sites, OFFSET)):
        wanted = plain(backbone, noise, clean[0][row], corrupted[0][row], row, site, direct)
        assert float(trace.scores[row, column]) == pytest.approx(wanted, abs=1e-4)


def plain(
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


def test_resumes_from_the_last_finished_batch(
    painter: BatchedPipeline, fox: Traced, frog: Tensor, tmp_path: Any
) -> None:
    clean, corrupted, samples = two_runs(painter, fox, frog)
    sites = block_sites(painter.denoiser.backbone, ("cross_attention",))
    asked, noise, budget = (
        question(fox, samples, sites),
        read_out(painter, fox, clean, samples),
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
            clean, corrupted, samples, asked, noise, budget, open_values(3, len(sites), path, asked.fingerprint), stop
        )
    kept = open_values(3, len(sites), path, asked.fingerprint)
    finished = int((~kept.scores.isnan()).sum())
    assert 0 < finished < kept.scores.numel()
    resumed = trace_blocks(clean, corrupted, samples, asked, noise, budget, kept, seen.append)
    torch.testing.assert_close(resumed.scores, whole.scores, atol=1e-6, rtol=1e-6)
    assert seen[3] > finished / kept.scores.numel(), "what was finished was not done again"
    assert open_values(3, len(sites), path, "another").scores.isnan().all()


def test_the_memory_of_a_batch_is_foretold(painter: BatchedPipeline, fox: Traced) -> None:
    """Rows take the same each, so the ceiling is kept by counting rows."""
    assert painter.step_peak_bytes(8) == pytest.approx(8 * painter.bytes_per_image, rel=0.1)
    assert painter.step_peak_bytes(painter.batch_size(MemoryBudget(activation_bytes=10**7))) <= 10**7
