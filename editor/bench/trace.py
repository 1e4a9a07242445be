"""The tracer against the plain loop: one site at a time, by one run of the unmodified encoder and of the unmodified pipeline.

The loop runs on a sample of the sites; its cost is the same for every site, and is scaled to all of them. Both sides read the
same numbers, and the sampled ones are compared.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from editor import emoji
from editor.bench.baseline_tracer import Clean, clean_run, restored_run
from editor.bench.outcome import Measure, Outcome, at_least, at_most, side_by_side
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import Precision, Sampler, native_precision
from editor.generation.memory_budget import MemoryBudget
from editor.generation.sampling import load_pipeline
from editor.tracing.corruption import Sample, noisy, samples_of
from editor.tracing.encoder_trace import TextModel, trace_text
from editor.tracing.readouts import Distance, ReadOut
from editor.tracing.result import Question, Trace, as_tuples
from editor.tracing.score_store import OFFSET, Cell
from editor.tracing.sites import TextSite, text_sites
from editor.tracing.traced_prompts import Place, Traced, at, roles
from editor.tracing.tracer import Options, Workbench

END, SPAN = 6, (5, 6)
"""Of "a photo of a fox": position of EOS, and the positions that the corruption covers."""
PLAIN_RUNS, PLAIN_IMAGES = 36, 9
STEPS, GUIDANCE = 10, 3.0
TEXT_SECONDS, TEXT_RATIO, IMAGE_RATIO, SAME = 20.0, 8.0, 6.0, 1e-4
REPEATS = 3


def run() -> Outcome:
    """Text space at the geometry of Stable Diffusion 1.5, then images of the embedded model; the loop is in float32."""
    torch.set_grad_enabled(False)
    fast = native_precision()
    text, images = {p: text_grid(p) for p in precisions()}, {p: image_grid(p) for p in precisions()}
    bounds = [
        at_most("text grid at SD 1.5 geometry, seconds", text[fast].ours.median, TEXT_SECONDS),
        at_least(f"text grid in {fast}, times faster", text[fast].ratio.median, TEXT_RATIO),
        at_least("text grid in float32, times faster", text["float32"].ratio.median, TEXT_RATIO),
        at_least(f"image grid in {fast}, times faster", images[fast].ratio.median, IMAGE_RATIO),
        at_least("image grid in float32, times faster", images["float32"].ratio.median, IMAGE_RATIO),
        at_most("text scores, largest difference in float32", text["float32"].difference, SAME),
        at_most("image scores, largest difference in float32", images["float32"].difference, SAME),
    ]
    return Outcome(name="trace", ours=text[fast].ours, peer=text[fast].peer, ratio=text[fast].ratio, bounds=bounds)


def precisions() -> list[Precision]:
    """float32, and bfloat16 where the processor has it."""
    known: list[Precision] = ["float32", native_precision()]
    return list(dict.fromkeys(known))


@dataclass(frozen=True)
class Compared:
    """Both sides of one grid; the peer's time is for all sites."""

    ours: Measure
    peer: Measure
    ratio: Measure
    difference: float
    """Largest, of the scores that both computed."""


def compared(ours: Callable[[], Trace], plain: Callable[[Cell], float], cells: Sequence[Cell]) -> Compared:
    """Compare the scores of ``cells``, then time both sides alternately: ours on all sites, the plain one on these."""
    scores = ours().scores
    difference = max(abs(plain(cell) - float(scores[cell])) for cell in cells)
    mine, theirs, ratio = side_by_side(ours, lambda: [plain(cell) for cell in cells], REPEATS, warm_up=0)
    factor = (scores.numel() - OFFSET) / len(cells)
    return Compared(mine, scaled(theirs, factor), scaled(ratio, factor), difference)


def scaled(measured: Measure, factor: float) -> Measure:
    """From the sampled sites to all."""
    update = {name: getattr(measured, name) * factor for name in ("median", "low", "high")}
    return measured.model_copy(update=update)


def sd15() -> Any:
    """A text encoder of Stable Diffusion 1.5's geometry, with random weights."""
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


def one_prompt() -> Traced:
    """As "a photo of a fox", with the tokens of any words: BOS, five words, EOS, and padding with EOS to 77 tokens."""
    ids = torch.full((1, 77), 49407)
    ids[0, 0] = 49406
    ids[0, 1:END] = torch.randint(1000, 40000, (END - 1,), generator=torch.Generator().manual_seed(0))
    return Traced("object", "concept", ("prompt",), ((),), ids, torch.tensor([END]), at(77, *SPAN))


@dataclass(frozen=True)
class Setting:
    """One prompt, one draw: the model, its sites, and how a user would score one of them."""

    model: TextModel
    samples: list[Sample]
    sites: list[TextSite]
    read_out: ReadOut
    clean: Clean
    """Every site's output in the clean run."""
    corrupted: Tensor
    """Embeddings ``(1, context, width)``."""

    def states(self, cell: Cell) -> Tensor:
        """States ``(1, context, width)`` by one run of the unmodified encoder."""
        site, prompts = self.sites[cell[1] - OFFSET], self.model.prompts[0]
        mask = self.model.places[site.place].mask[0]
        return restored_run(self.model.towers[0].encoder, prompts.ids, self.corrupted, self.clean, site, mask)

    def score(self, cell: Cell) -> float:
        """The read-out of one such run."""
        return float(self.read_out.scores((self.states(cell),), self.samples[:1]))

    def question(self) -> Question:
        """What is asked; nothing of it is kept."""
        prompts = self.model.prompts[0]
        return Question(
            model="benchmark",
            concept=prompts.name,
            attribute=prompts.attribute,
            read_out=self.read_out.name,
            corruption="noise",
            seed=0,
            prompts=prompts.texts,
            places=tuple(place.label for place in self.model.places),
            samples=as_tuples(self.samples),
            sites=tuple(self.sites),
        )


def text_grid(precision: Precision) -> Compared:
    """Every token x layer x kind, padding as one token; all 77 states are read."""
    prompts, tower = one_prompt(), CLIPTextRunner(sd15(), precision=precision)
    places = [*(Place(str(i), at(77, i, i + 1)) for i in range(END + 1)), roles(prompts)[-1]]
    model = TextModel((tower,), (prompts,), places, lambda t, p, s: noisy(t, p, s, 0.1, 0))
    samples, sites = samples_of(1, 1), text_sites(tower.depth, range(len(places)))
    corrupted, clean = model.corrupt(tower, prompts, samples), clean_run(tower.encoder, prompts.ids)[1]
    setting = Setting(model, samples, sites, Distance(model.clean()), clean, corrupted)
    ours = lambda: trace_text(model, samples, setting.question(), setting.read_out, MemoryBudget())  # noqa: E731
    return compared(ours, setting.score, sampled(sites, PLAIN_RUNS))


def image_grid(precision: Precision) -> Compared:
    """The same for one prompt of the embedded model, read out by the judge from images."""
    options = Options("fox", read_out="images", prompts=1, draws=1, sampler=Sampler(STEPS, GUIDANCE, precision))
    bench = Workbench(emoji.WEIGHTS, emoji.JUDGE, options)
    sites = [site for site in bench.sites() if isinstance(site, TextSite)]
    reader: Any = bench.read_out("images", ())
    clean, prompts = clean_run(bench.towers[0].encoder, bench.prompts[0].ids)[1], bench.prompts[0]
    corrupted = bench.corrupt(bench.towers[0], prompts, bench.samples)
    setting = Setting(bench.model, bench.samples, sites, reader, clean, corrupted)
    pipeline = load_pipeline(emoji.WEIGHTS)

    def plain(cell: Cell) -> float:
        drawn = pipeline(
            prompt_embeds=setting.states(cell),
            negative_prompt_embeds=bench.painter.unconditional["encoder_hidden_states"],
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            generator=torch.Generator().manual_seed(bench.samples[0].seed),
            output_type="np",
        ).images
        image = (drawn[0] * 255).round().astype("uint8")
        return float(bench.judge.embed_images([image])[0] @ reader.directions[0])

    ours = lambda: trace_text(bench.model, bench.samples, setting.question(), reader, MemoryBudget())  # noqa: E731
    return compared(ours, plain, sampled(sites, PLAIN_IMAGES))


def sampled(sites: Sequence[TextSite], count: int) -> list[Cell]:
    """Random sites of the only sample."""
    return [(0, column + OFFSET) for column in random.Random(0).sample(range(len(sites)), count)]
