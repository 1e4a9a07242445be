"""Set up and run a trace: from a model and the options of `expunge trace` to a `Trace`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from api_schemas.errors import UsageError
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import EncoderStates, Sampler
from editor.generation.denoiser import Conditioning
from editor.generation.device import DeviceSettings
from editor.generation.memory_budget import MemoryBudget
from editor.io.progress import ProgressCallback
from editor.prompts import Profile
from editor.tracing.backbone_trace import ImageReadOut, trace_blocks
from editor.tracing.corruption import (
    NOISE_SCALE,
    Corruption,
    Sample,
    add_noise,
    embedding_std,
    find_donor_tokens,
    make_samples,
    prompt_indices,
    swap_tokens,
)
from editor.tracing.encoder_trace import TracedEncoders, trace_text
from editor.tracing.image_readouts import JudgedImages, collect_noisy_latents, make_noise_prediction
from editor.tracing.patched_runs import run_with_cache
from editor.tracing.readouts import LinearJudge, ReadOut, TextDistance, concept_directions, fit_linear_judge
from editor.tracing.result import Trace, TraceSpec, sample_tuples
from editor.tracing.score_store import ScoreMatrix, open_score_matrix
from editor.tracing.sites import Site, block_sites, cross_attention_windows, text_sites
from editor.tracing.traced_model import TracedModel
from editor.tracing.traced_prompts import (
    Attribute,
    Padding,
    TokenGroup,
    TracedPrompts,
    make_traced_prompts,
    role_groups,
    single_token_groups,
    tokenize_prompts,
)

SiteFamily = Literal["text", "unet", "cross-attention"]
ReadOutName = Literal["text", "judge", "noise", "images"]
PARTIAL_FILE = "trace.partial.safetensors"
"""Scores of an unfinished trace."""


@dataclass(frozen=True)
class TraceOptions:
    """What to trace, and at what cost."""

    concept: str
    attribute: Attribute = "object"
    sites: SiteFamily = "text"
    read_out: ReadOutName = "text"
    corruption: Corruption = "noise"
    prompts: int = 8
    draws: int = 4
    seeds: int = 1
    window: int = 1
    padding: Padding = "together"
    encoder: str = "all"
    """``text_encoder``, ``text_encoder_2``, or all of them together."""
    sampler: Sampler = field(default_factory=lambda: Sampler(steps=20, guidance=3.0))
    budget: MemoryBudget = field(default_factory=MemoryBudget)
    seed: int = 0
    device: DeviceSettings = field(default_factory=DeviceSettings)

    @property
    def needs_images(self) -> bool:
        """Whether the trace runs the image backbone."""
        return self.sites != "text" or self.read_out in ("noise", "images")


@dataclass(frozen=True)
class Tracer:
    """A trace of one model. Everything it needs is loaded or computed on first use."""

    model_path: Path
    judge_folder: Path
    options: TraceOptions
    name: str = ""
    components: Path | None = None
    """A folder with what the model lacks to generate images."""
    profile: Profile | None = None
    """Used instead of the model's own."""

    @cached_property
    def model(self) -> TracedModel:
        """The model and the judge."""
        options = self.options
        return TracedModel(
            self.model_path,
            self.judge_folder,
            options.sampler,
            options.encoder,
            options.needs_images,
            self.components,
            options.device,
            self.profile,
        )

    @cached_property
    def prompts(self) -> tuple[TracedPrompts, ...]:
        """The prompts, tokenized for each encoder."""
        options, (builder, *others) = self.options, self.model.prompt_builders
        first = make_traced_prompts(builder, options.attribute, options.concept, options.prompts)
        return (
            first,
            *(
                tokenize_prompts(other, options.attribute, options.concept, first.texts, first.alternatives)
                for other in others
            ),
        )

    @cached_property
    def groups(self) -> list[TokenGroup]:
        """The token groups: every token of a single prompt, or the roles that several prompts share."""
        first = self.prompts[0]
        if len(first.texts) > 1:
            return role_groups(first)
        return single_token_groups(self.model.prompt_builders[0], first, self.options.padding)

    @cached_property
    def samples(self) -> list[Sample]:
        """All combinations of prompts, corruption draws and image seeds."""
        options = self.options
        seeds = range(options.seed, options.seed + options.seeds) if options.needs_images else (options.seed,)
        return make_samples(len(self.prompts[0].texts), options.draws, seeds)

    @cached_property
    def encoders(self) -> TracedEncoders:
        """The text encoders, with their prompts and the corruption."""
        return TracedEncoders(self.model.encoders, self.prompts, self.groups, self.corrupt)

    @cached_property
    def donors(self) -> list[Tensor]:
        """Tokens of other values, for the corruption by swapping."""
        options = self.options
        return find_donor_tokens(self.model.prompt_builders[0], options.attribute, self.prompts[0], options.draws)

    def corrupt(self, encoder: CLIPTextRunner, prompts: TracedPrompts, samples: Sequence[Sample]) -> Tensor:
        """Return corrupted embeddings ``(samples, context, width)``."""
        if self.options.corruption == "swap":
            return swap_tokens(encoder, prompts, samples, self.donors)
        sigma = NOISE_SCALE * embedding_std(encoder, prompts.ids, prompts.spans)
        return add_noise(encoder, prompts, samples, sigma, self.options.seed)

    def sites(self) -> list[Site]:
        """Return every site that the options select."""
        options = self.options
        if options.sites == "unet":
            return list(block_sites(self.model.pipeline.denoiser.backbone))
        if options.sites == "cross-attention":
            return list(cross_attention_windows(self.model.pipeline.denoiser.backbone, options.window))
        groups = range(len(self.groups))
        return [
            site
            for i, encoder in enumerate(self.model.encoders)
            for site in text_sites(encoder.depth, groups, window=options.window, tower=i)
        ]

    def make_spec(self, sites: Sequence[Site], read_out: str) -> TraceSpec:
        """Return everything that the scores depend on."""
        options = self.options
        return TraceSpec(
            model=self.name or self.model_path.name,
            weights=self.model.weights_digest,
            concept=options.concept,
            attribute=options.attribute,
            read_out=read_out,
            corruption=self.corruption_label,
            precision=options.sampler.precision,
            seed=options.seed,
            prompts=self.prompts[0].texts,
            places=tuple(group.label for group in self.groups),
            samples=sample_tuples(self.samples),
            sites=tuple(sites),
        )

    @property
    def corruption_label(self) -> str:
        """Description of the corruption for the result."""
        if self.options.sites == "cross-attention":
            return "none: the sites alone read the prompt about another value"
        if self.options.corruption == "noise":
            return f"noise, {NOISE_SCALE:g} standard deviations"
        return "another value's tokens"

    def conditioning(self, states: EncoderStates, samples: Sequence[Sample]) -> Conditioning:
        """Return the UNet's conditioning for runs of these samples."""
        eos_positions = self.prompts[0].eos_positions[prompt_indices(samples)]
        return self.model.pipeline.conditioning_from_states(states, eos_positions)

    def make_read_out(self, name: ReadOutName, clean: EncoderStates) -> ReadOut | ImageReadOut:
        """Return a read-out by name.

        Args:
            clean: the reference of a noise prediction, states ``(samples, ...)``; other read-outs ignore it.
        """
        if name == "images":
            directions = concept_directions(self.model.judge, self.prompts[0])
            return JudgedImages(self.model.pipeline, self.model.judge, self.conditioning, directions)
        if name == "noise":
            pipeline, conditioning = self.model.pipeline, self.conditioning(clean, self.samples)
            noisy = collect_noisy_latents(
                pipeline, conditioning, self.samples, pipeline.batch_size(self.options.budget)
            )
            return make_noise_prediction(
                pipeline.denoiser, self.conditioning, clean, self.samples, noisy, pipeline.batch_size
            )
        return self.make_text_read_out(name)

    def make_text_read_out(self, name: ReadOutName) -> TextDistance | LinearJudge:
        """Return a read-out that runs text encoders only."""
        if name == "text":
            return TextDistance(self.encoders.clean_states())
        if len(self.model.encoders) > 1:
            raise UsageError(
                "The read-out judge works with one text encoder.",
                field="read_out",
                remedy="Name the encoder with --encoder.",
            )
        return fit_linear_judge(
            self.model.encoders[0], self.model.prompt_builders[0], self.model.judge, self.prompts[0]
        )

    @torch.no_grad()
    def clean_states(self) -> EncoderStates:
        """Return the clean states of every sample, ``(samples, ...)``."""
        return tuple(states[prompt_indices(self.samples)] for states in self.encoders.clean_states())

    @torch.no_grad()
    def clean_and_corrupted_states(self) -> tuple[EncoderStates, EncoderStates]:
        """Return the states ``(samples, ...)`` of both runs.

        For a direct effect, the prompts about another value count as clean, and the prompts themselves as corrupted.
        """
        clean = self.clean_states()
        if self.options.sites == "cross-attention":
            return self.other_states(), clean
        patchers = self.encoders.make_patchers(self.samples, self.encoders.length(with_padding=True))
        return clean, tuple(patcher.corrupted.states for patcher in patchers)

    def other_states(self) -> EncoderStates:
        """Return the states ``(samples, ...)`` of the same prompts about another value, a different one in each draw."""
        if len(self.model.encoders) > 1:
            raise UsageError(
                "The direct effect is traced only in models with one text encoder.",
                field="sites",
                remedy="Choose text or unet.",
            )
        known = self.prompts[0].alternatives
        texts = [known[s.prompt][s.draw * len(known[s.prompt]) // self.options.draws] for s in self.samples]
        encoder = self.model.encoders[0]
        return (run_with_cache(encoder, encoder.embed(self.model.prompt_builders[0].token_ids(texts))).states,)

    def trace(self, progress: ProgressCallback, out: Path | None = None, sites: Sequence[Site] | None = None) -> Trace:
        """Run the trace.

        Args:
            out: folder for the scores of finished batches; an interrupted trace continues from them.
            sites: sites to trace in place of those of the options.
        """
        trace = self.trace_text if self.options.sites == "text" else self.trace_unet
        return trace(sites, progress, out)

    def trace_text(self, sites: Sequence[Site] | None, progress: ProgressCallback, out: Path | None) -> Trace:
        """Trace sites of the text encoders."""
        name = self.options.read_out
        read_out: Any = self.make_read_out(name, self.clean_states() if name == "noise" else ())

        def run(spec: TraceSpec, matrix: ScoreMatrix) -> Trace:
            return trace_text(self.encoders, self.samples, spec, read_out, self.options.budget, matrix, progress)

        return self.run_resumable(run, self.make_spec(sites or self.sites(), read_out.name), out)

    def trace_unet(self, sites: Sequence[Site] | None, progress: ProgressCallback, out: Path | None) -> Trace:
        """Trace sites of the UNet."""
        name, direct = self.options.read_out, self.options.sites == "cross-attention"
        if name not in ("noise", "images"):
            raise UsageError(
                f"The read-out {name!r} does not work for sites of the UNet.",
                field="read_out",
                remedy="Choose noise or images.",
            )
        clean, corrupted = self.clean_and_corrupted_states()
        read_out: Any = self.make_read_out(name, clean)

        def run(spec: TraceSpec, matrix: ScoreMatrix) -> Trace:
            budget = self.options.budget
            return trace_blocks(clean, corrupted, self.samples, spec, read_out, budget, matrix, progress, direct=direct)

        return self.run_resumable(run, self.make_spec(sites or self.sites(), read_out.name), out)

    def run_resumable(self, run: Callable[[TraceSpec, ScoreMatrix], Trace], spec: TraceSpec, out: Path | None) -> Trace:
        """Run a trace with a file of partial scores, which is deleted at the end."""
        path = out / PARTIAL_FILE if out else None
        trace = run(spec, open_score_matrix(len(self.samples), len(spec.sites), path, spec.fingerprint))
        if path:
            path.unlink(missing_ok=True)
        return trace
