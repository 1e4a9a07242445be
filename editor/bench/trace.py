"""Benchmark of the tracer against a plain loop: one run of the unmodified encoder and pipeline for each site.

The loop runs on a sample of the sites; it costs the same for every site, so its time is scaled to all of them. Both sides
read the same inputs, and the scores of the sampled sites are compared.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editor import emoji
from editor.bench.baseline_tracer import SiteOutputs, run_clean, run_restored
from editor.bench.outcome import BenchmarkResult, Measurement, at_least, at_most, time_alternately
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import Precision, Sampler, native_precision
from editor.generation.memory_budget import MemoryBudget
from editor.generation.pipelines import load_pipeline
from editor.tracing.corruption import Sample, add_noise, make_samples
from editor.tracing.encoder_trace import TracedEncoders, trace_text
from editor.tracing.readouts import ReadOut, TextDistance
from editor.tracing.result import Trace, TraceSpec, sample_tuples
from editor.tracing.score_store import SITE_OFFSET, Cell
from editor.tracing.sites import TextSite, text_sites
from editor.tracing.traced_prompts import TokenGroup, TracedPrompts, position_mask, role_groups
from editor.tracing.tracer import TraceOptions, Tracer

EOS_POSITION, CORRUPTED_SPAN = 6, (5, 6)
"""Of "a photo of a fox": the position of EOS, and the span (start, stop) that the corruption covers."""
LOOP_TEXT_SITES, LOOP_IMAGE_SITES = 36, 9
"""Number of sites that the loop runs on."""
STEPS, GUIDANCE = 10, 3.0
MAX_TEXT_SECONDS, MIN_TEXT_RATIO, MIN_IMAGE_RATIO, MAX_DIFFERENCE = 20.0, 8.0, 6.0, 1e-4
MIN_FLOAT32_TEXT_RATIO, MIN_FLOAT32_IMAGE_RATIO = 7.0, 4.0
"""In float32 our matrix products are as slow as the loop's, so only skipped computation counts: the layers before a site, and
what guidance would compute twice. Measured: 7.6 and 4.9."""
REPEATS = 3


def run() -> BenchmarkResult:
    """Run text space at the geometry of Stable Diffusion 1.5, then images of the embedded model. The loop is in float32."""
    torch.set_grad_enabled(False)
    fast = native_precision()
    text = {precision: compare_text_grid(precision) for precision in precisions()}
    images = {precision: compare_image_grid(precision) for precision in precisions()}
    bounds = [
        at_most("text grid at SD 1.5 geometry, seconds", text[fast].ours.median, MAX_TEXT_SECONDS),
        at_least(f"text grid in {fast}, times faster", text[fast].ratio.median, MIN_TEXT_RATIO),
        at_least("text grid in float32, times faster", text["float32"].ratio.median, MIN_FLOAT32_TEXT_RATIO),
        at_least(f"image grid in {fast}, times faster", images[fast].ratio.median, MIN_IMAGE_RATIO),
        at_least("image grid in float32, times faster", images["float32"].ratio.median, MIN_FLOAT32_IMAGE_RATIO),
        at_most("text scores, largest difference in float32", text["float32"].difference, MAX_DIFFERENCE),
        at_most("image scores, largest difference in float32", images["float32"].difference, MAX_DIFFERENCE),
    ]
    return BenchmarkResult(
        name="trace", ours=text[fast].ours, peer=text[fast].peer, ratio=text[fast].ratio, bounds=bounds
    )


def precisions() -> list[Precision]:
    """Return float32, and bfloat16 if the CPU multiplies it natively."""
    both: list[Precision] = ["float32", native_precision()]
    return list(dict.fromkeys(both))


@dataclass(frozen=True)
class GridComparison:
    """Times of both sides for one grid; the peer's is scaled to all sites."""

    ours: Measurement
    peer: Measurement
    ratio: Measurement
    difference: float
    """Largest difference of the scores that both computed."""


def compare(ours: Callable[[], Trace], loop: Callable[[Cell], float], cells: Sequence[Cell]) -> GridComparison:
    """Compare the scores of ``cells``, then time both sides alternately: ours on all sites, the loop on ``cells``."""
    scores = ours().scores
    difference = max(abs(loop(cell) - float(scores[cell])) for cell in cells)
    our_time, loop_time, ratio = time_alternately(ours, lambda: [loop(cell) for cell in cells], REPEATS, warm_up=0)
    factor = (scores.numel() - SITE_OFFSET) / len(cells)
    return GridComparison(our_time, scale(loop_time, factor), scale(ratio, factor), difference)


def scale(measurement: Measurement, factor: float) -> Measurement:
    """Multiply a measurement by a factor."""
    update = {name: getattr(measurement, name) * factor for name in ("median", "low", "high")}
    return measurement.model_copy(update=update)


def make_sd15_encoder() -> Any:
    """Return a text encoder of Stable Diffusion 1.5's geometry with random weights."""
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=768,
        intermediate_size=3072,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=77,
        hidden_act="quick_gelu",
        bos_token_id=49406,
        eos_token_id=49407,
    )
    return CLIPTextModel(config).eval()


def make_random_prompt() -> TracedPrompts:
    """Return a prompt shaped like "a photo of a fox": BOS, five random tokens, EOS, and padding with EOS to 77 tokens."""
    ids = torch.full((1, 77), 49407)
    ids[0, 0] = 49406
    ids[0, 1:EOS_POSITION] = torch.randint(1000, 40000, (EOS_POSITION - 1,), generator=torch.Generator().manual_seed(0))
    span = position_mask(77, *CORRUPTED_SPAN)
    return TracedPrompts("object", "concept", ("prompt",), ((),), ids, torch.tensor([EOS_POSITION]), span)


@dataclass(frozen=True)
class SingleSampleTrace:
    """A trace of one prompt and one corruption draw, and its score by a plain loop."""

    encoders: TracedEncoders
    samples: list[Sample]
    sites: list[TextSite]
    read_out: ReadOut
    clean: SiteOutputs
    """Every site's output in the clean run."""
    corrupted: Tensor
    """Embeddings ``(1, context, width)``."""

    def run(self) -> Trace:
        """Run our tracer on all sites."""
        return trace_text(self.encoders, self.samples, self.make_spec(), self.read_out, MemoryBudget())

    def states(self, cell: Cell) -> Tensor:
        """Return the states ``(1, context, width)`` of one run of the unmodified encoder."""
        site, prompts = self.sites[cell[1] - SITE_OFFSET], self.encoders.prompts[0]
        mask = self.encoders.groups[site.place].mask[0]
        return run_restored(self.encoders.encoders[0].encoder, prompts.ids, self.corrupted, self.clean, site, mask)

    def score(self, cell: Cell) -> float:
        """Return the read-out of one such run."""
        return float(self.read_out.score((self.states(cell),), self.samples[:1]))

    def make_spec(self) -> TraceSpec:
        """Return a specification; the result is not saved."""
        prompts = self.encoders.prompts[0]
        return TraceSpec(
            model="benchmark",
            concept=prompts.name,
            attribute=prompts.attribute,
            read_out=self.read_out.name,
            corruption="noise",
            seed=0,
            prompts=prompts.texts,
            places=tuple(group.label for group in self.encoders.groups),
            samples=sample_tuples(self.samples),
            sites=tuple(self.sites),
        )


def compare_text_grid(precision: Precision) -> GridComparison:
    """Compare every token x layer x kind, with padding as one token; the read-out covers all 77 states."""
    prompts, runner = make_random_prompt(), CLIPTextRunner(make_sd15_encoder(), precision=precision)
    tokens = [TokenGroup(str(i), position_mask(77, i, i + 1)) for i in range(EOS_POSITION + 1)]
    groups = [*tokens, role_groups(prompts)[-1]]
    encoders = TracedEncoders((runner,), (prompts,), groups, lambda r, p, s: add_noise(r, p, s, 0.1, 0))
    samples, sites = make_samples(1, 1), text_sites(runner.depth, range(len(groups)))
    corrupted, clean = encoders.corrupt(runner, prompts, samples), run_clean(runner.encoder, prompts.ids)[1]
    trace = SingleSampleTrace(encoders, samples, sites, TextDistance(encoders.clean_states()), clean, corrupted)
    return compare(trace.run, trace.score, sample_cells(sites, LOOP_TEXT_SITES))


def compare_image_grid(precision: Precision) -> GridComparison:
    """Compare the same grid for one prompt of the embedded model, read out by the judge from images."""
    options = TraceOptions("fox", read_out="images", prompts=1, draws=1, sampler=Sampler(STEPS, GUIDANCE, precision))
    tracer = Tracer(emoji.WEIGHTS, emoji.JUDGE, options)
    sites = [site for site in tracer.sites() if isinstance(site, TextSite)]
    read_out: Any = tracer.make_read_out("images", ())
    runner, prompts = tracer.model.encoders[0], tracer.prompts[0]
    clean = run_clean(runner.encoder, prompts.ids)[1]
    corrupted = tracer.corrupt(runner, prompts, tracer.samples)
    trace = SingleSampleTrace(tracer.encoders, tracer.samples, sites, read_out, clean, corrupted)
    pipeline = load_pipeline(emoji.WEIGHTS)

    def loop(cell: Cell) -> float:
        images = pipeline(
            prompt_embeds=trace.states(cell),
            negative_prompt_embeds=tracer.model.pipeline.unconditional["encoder_hidden_states"],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(tracer.samples[0].seed),
            output_type="np",
        ).images
        image = (images[0] * 255).round().astype("uint8")
        return float(tracer.model.judge.embed_images([image])[0] @ read_out.directions[0])

    return compare(trace.run, loop, sample_cells(sites, LOOP_IMAGE_SITES))


def sample_cells(sites: Sequence[TextSite], count: int) -> list[Cell]:
    """Return the cells of random sites of the only sample."""
    return [(0, column + SITE_OFFSET) for column in random.Random(0).sample(range(len(sites)), count)]
