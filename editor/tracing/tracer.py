"""From a model's folder and a question to a trace: opens what the question needs, and nothing else."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from api_schemas.errors import UsageError
from editor.checkpoints import Checkpoint, file_digest, open_checkpoint, weight_files
from editor.checkpoints.load_transformers import load_module
from editor.checkpoints.tokenizers import open_tokenizer
from editor.generation.batched_pipeline import BatchedPipeline
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import EncoderStates, Sampler
from editor.generation.denoiser import Conditioning
from editor.generation.memory_budget import MemoryBudget
from editor.generation.sampling import load_pipeline
from editor.io.progress import ProgressCallback
from editor.judging.judge import Judge, open_judge
from editor.prompts import PromptBuilder, load_profile
from editor.tracing.backbone_trace import ImageReadOut, trace_blocks
from editor.tracing.corruption import (
    NOISE,
    Corruption,
    Sample,
    deviation,
    donors_for,
    index,
    noisy,
    samples_of,
    swapped,
)
from editor.tracing.encoder_trace import TextModel, trace_text
from editor.tracing.image_readouts import Images, along_the_way, noise_prediction
from editor.tracing.patched_runs import run
from editor.tracing.readouts import Distance, LinearJudge, ReadOut, directions, linear_judge
from editor.tracing.result import Question, Trace, as_tuples
from editor.tracing.score_store import open_values
from editor.tracing.sites import Site, block_sites, cross_attention_windows, text_sites
from editor.tracing.traced_prompts import Attribute, Padding, Place, Traced, every_token, roles, trace_prompts, traced

Where = Literal["text", "unet", "cross-attention"]
ReadOutName = Literal["text", "judge", "noise", "images"]
PENULTIMATE = ("sdxl", "sd3")
"""Families whose image half reads the states before the encoders' last layer."""
PARTIAL = "trace.partial.safetensors"
"""What an unfinished trace has measured so far."""


@dataclass(frozen=True)
class Options:
    """What to trace, and how dear."""

    concept: str
    attribute: Attribute = "object"
    where: Where = "text"
    read_out: ReadOutName = "text"
    corruption: Corruption = "noise"
    prompts: int = 8
    draws: int = 4
    seeds: int = 1
    window: int = 1
    padding: Padding = "together"
    encoder: str = "all"
    """``text_encoder``, ``text_encoder_2`` or all of them together."""
    sampler: Sampler = field(default_factory=lambda: Sampler(steps=20, guidance=3.0))
    budget: MemoryBudget = field(default_factory=MemoryBudget)
    seed: int = 0


@dataclass(frozen=True)
class Workbench:
    """A model and a question; everything is made when it is first asked for."""

    model_path: Path
    judge_folder: Path
    options: Options
    name: str = ""

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The base model, opened lazily."""
        return open_checkpoint(self.model_path)

    @cached_property
    def books(self) -> tuple[PromptBuilder, ...]:
        """The prompts as each traced encoder's tokenizer has them."""
        folder = self.model_path if self.model_path.is_dir() else self.model_path.parent
        chosen = [e for e in self.checkpoint.encoders if self.options.encoder in ("all", e.component)]
        if not chosen:
            known = ", ".join(encoder.component for encoder in self.checkpoint.encoders)
            raise UsageError(
                f"The model has no encoder {self.options.encoder!r}.", field="encoder", remedy=f"Choose all, {known}."
            )
        return tuple(PromptBuilder(open_tokenizer(encoder), load_profile(folder)) for encoder in chosen)

    @cached_property
    def towers(self) -> tuple[CLIPTextRunner, ...]:
        """The traced encoders; those of the pipeline where images are drawn."""
        if self.needs_images:
            return self.painter.encoders
        output: Literal["final", "penultimate"] = "penultimate" if self.checkpoint.family in PENULTIMATE else "final"
        encoders = [e for e in self.checkpoint.encoders if self.options.encoder in ("all", e.component)]
        return tuple(
            CLIPTextRunner(load_module(encoder), output, encoder.component, self.options.sampler.precision)
            for encoder in encoders
        )

    @property
    def needs_images(self) -> bool:
        """Whether the image half is involved."""
        return self.options.where != "text" or self.options.read_out in ("noise", "images")

    @cached_property
    def painter(self) -> BatchedPipeline:
        """The pipeline, taken apart."""
        family = self.checkpoint.family
        if not self.model_path.is_dir() or family not in ("stable-diffusion-1", "stable-diffusion-2", "sdxl"):
            raise UsageError(
                f"A model of the family {family} at {self.model_path} draws no images here.",
                field="read_out",
                remedy="Trace text sites with the read-out text, or name a Stable Diffusion folder in diffusers' layout.",
            )
        if self.options.encoder != "all":
            raise UsageError("Images take all encoders together.", field="encoder", remedy="Leave --encoder out.")
        return BatchedPipeline(opened_pipeline(self.model_path, family == "sdxl"), self.options.sampler)

    @cached_property
    def judge(self) -> Judge:
        """Who looks at images."""
        return opened_judge(self.judge_folder, self.model_path)

    @cached_property
    def prompts(self) -> tuple[Traced, ...]:
        """The prompts, tokenised for each encoder."""
        asked, first = (
            self.options,
            trace_prompts(self.books[0], self.options.attribute, self.options.concept, self.options.prompts),
        )
        others = (
            traced(book, asked.attribute, asked.concept, first.texts, first.alternatives) for book in self.books[1:]
        )
        return (first, *others)

    @cached_property
    def places(self) -> list[Place]:
        """Every token of a single prompt; roles where there are several prompts."""
        first = self.prompts[0]
        return every_token(self.books[0], first, self.options.padding) if len(first.texts) == 1 else roles(first)

    @cached_property
    def samples(self) -> list[Sample]:
        """Prompts x draws x seeds."""
        asked = self.options
        seeds = range(asked.seed, asked.seed + asked.seeds) if self.needs_images else (asked.seed,)
        return samples_of(len(self.prompts[0].texts), asked.draws, seeds)

    @cached_property
    def model(self) -> TextModel:
        """The encoders, with how their prompts are corrupted."""
        return TextModel(self.towers, self.prompts, self.places, self.corrupt)

    @cached_property
    def donors(self) -> list[Tensor]:
        """Tokens to swap in."""
        return donors_for(self.books[0], self.options.attribute, self.prompts[0], self.options.draws)

    def corrupt(self, tower: CLIPTextRunner, prompts: Traced, samples: Sequence[Sample]) -> Tensor:
        """Corrupted embeddings ``(samples, context, width)``."""
        if self.options.corruption == "swap":
            return swapped(tower, prompts, samples, self.donors)
        sigma = NOISE * deviation(tower, prompts.ids, prompts.spans)
        return noisy(tower, prompts, samples, sigma, self.options.seed)

    def sites(self) -> list[Site]:
        """Every site that the options speak of."""
        asked = self.options
        if asked.where == "unet":
            return list(block_sites(self.painter.denoiser.backbone))
        if asked.where == "cross-attention":
            return list(cross_attention_windows(self.painter.denoiser.backbone, asked.window))
        places = range(len(self.places))
        grids = (text_sites(tower.depth, places, window=asked.window, tower=i) for i, tower in enumerate(self.towers))
        return [site for grid in grids for site in grid]

    def question(self, sites: Sequence[Site], read_out: str) -> Question:
        """All that the scores depend on."""
        asked = self.options
        return Question(
            model=self.name or self.model_path.name,
            weights=self.weights,
            concept=asked.concept,
            attribute=asked.attribute,
            read_out=read_out,
            corruption=self.corruption,
            precision=asked.sampler.precision,
            seed=asked.seed,
            prompts=self.prompts[0].texts,
            places=tuple(place.label for place in self.places),
            samples=as_tuples(self.samples),
            sites=tuple(sites),
        )

    @cached_property
    def weights(self) -> str:
        """One sha256 for all weights files."""
        files = weight_files(self.model_path) if self.model_path.is_dir() else {"": self.model_path}
        digests = sorted((name, file_digest(path)) for name, path in files.items())
        return hashlib.sha256(repr(digests).encode()).hexdigest()

    @property
    def corruption(self) -> str:
        """In words."""
        if self.options.where == "cross-attention":
            return "none: the sites alone read the prompt about another value"
        return (
            f"noise, {NOISE:g} standard deviations" if self.options.corruption == "noise" else "another value's tokens"
        )

    def condition(self, states: EncoderStates, samples: Sequence[Sample]) -> Conditioning:
        """What the UNet is given for runs of these samples."""
        return self.painter.conditioning_from_states(states, self.prompts[0].ends[index(samples)])

    def read_out(self, name: ReadOutName, clean: EncoderStates) -> ReadOut | ImageReadOut:
        """A read-out by name.

        Args:
            clean: states ``(samples, ...)`` that a noise prediction is compared with.
        """
        if name == "images":
            return Images(self.painter, self.judge, self.condition, directions(self.judge, self.prompts[0]))
        if name == "noise":
            rows = self.painter.batch_size(self.options.budget)
            noisy_latents = along_the_way(self.painter, self.condition(clean, self.samples), self.samples, rows)
            return noise_prediction(
                self.painter.denoiser, self.condition, clean, self.samples, noisy_latents, self.painter.batch_size
            )
        return self.text_read_out(name)

    def text_read_out(self, name: ReadOutName) -> Distance | LinearJudge:
        """Read-outs that need no image half."""
        if name == "text":
            return Distance(self.model.clean())
        if len(self.towers) > 1:
            raise UsageError("The judge reads one encoder.", field="read_out", remedy="Name one with --encoder.")
        return linear_judge(self.towers[0], self.books[0], self.judge, self.prompts[0])

    @torch.no_grad()
    def clean_and_corrupted(self) -> tuple[EncoderStates, EncoderStates]:
        """States ``(samples, ...)`` of both runs; for the direct effect, of the other prompts and of the prompts."""
        clean = tuple(states[index(self.samples)] for states in self.model.clean())
        if self.options.where == "cross-attention":
            return self.others(), clean
        grids = self.model.grids(self.samples, self.model.length(whole=True))
        return clean, tuple(grid.corrupted.states for grid in grids)

    def others(self) -> EncoderStates:
        """States ``(samples, ...)`` of the same prompts about another value, another one in each draw."""
        if len(self.towers) > 1:
            raise UsageError("The direct effect is traced for models with one text encoder.", field="sites")
        known = self.prompts[0].alternatives
        texts = [known[s.prompt][s.draw * len(known[s.prompt]) // self.options.draws] for s in self.samples]
        tower = self.towers[0]
        return (run(tower, tower.embed(self.books[0].token_ids(texts))).states,)

    def trace(
        self,
        tick: ProgressCallback,
        out: Path | None = None,
        sites: Sequence[Site] | None = None,
        read_out: ReadOutName | None = None,
    ) -> Trace:
        """Trace; with ``out``, go on from what an earlier call left there."""
        name = read_out or self.options.read_out
        if self.options.where == "text":
            return self.trace_text(name, sites or self.sites(), tick, out)
        if name not in ("noise", "images"):
            raise UsageError(
                f"Sites of the UNet can't be read out by {name!r}.", field="read_out", remedy="Choose noise or images."
            )
        clean, corrupted = self.clean_and_corrupted()
        reader: Any = self.read_out(name, clean)
        return self.kept(out, self.question(sites or self.sites(), reader.name), lambda question, values: trace_blocks(
            clean, corrupted, self.samples, question, reader, self.options.budget, values, tick,
            direct=self.options.where == "cross-attention",
        ))  # fmt: skip

    def trace_text(self, name: ReadOutName, sites: Sequence[Site], tick: ProgressCallback, out: Path | None) -> Trace:
        """Trace sites of the text encoders."""
        clean = tuple(states[index(self.samples)] for states in self.model.clean()) if name == "noise" else ()
        reader: Any = self.read_out(name, clean)
        return self.kept(out, self.question(sites, reader.name), lambda question, values: trace_text(
            self.model, self.samples, question, reader, self.options.budget, values, tick
        ))  # fmt: skip

    def kept(self, out: Path | None, question: Question, measure: Callable[[Question, Any], Trace]) -> Trace:
        """Measure with a file that keeps every batch, and goes when all is done."""
        path = out / PARTIAL if out else None
        trace = measure(question, open_values(len(self.samples), len(question.sites), path, question.fingerprint))
        if path:
            path.unlink(missing_ok=True)
        return trace


@lru_cache(1)
def opened_judge(folder: Path, model_path: Path) -> Judge:
    """The judge; the last one opened stays open, for the next trace."""
    return open_judge(folder, model_path, load_profile(model_path))


@lru_cache(1)
def opened_pipeline(model_dir: Path, xl: bool) -> Any:
    """A plain diffusers pipeline in float32, quiet; the last one opened stays open, for the next trace."""
    if not xl:
        return load_pipeline(model_dir)
    from diffusers import StableDiffusionXLPipeline

    pipeline = StableDiffusionXLPipeline.from_pretrained(model_dir, use_safetensors=True, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
