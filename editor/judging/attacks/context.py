"""What an attack works with: the model before and after the edit, the removed concept, and the judge."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editor.checkpoints.tensor_update import TensorUpdate
from editor.errors import AttackNotApplicable
from editor.features.activations.noised_source import encode_pixels
from editor.generation.batch_size import MAX_IMAGES
from editor.generation.batched_pipeline import BATCHED_PIPELINES, BatchedPipeline
from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.clip_states import CLIP_COMPONENTS, clip_runners
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.cpu_optimizations import cpu_fast_path
from editor.generation.edited_weights import copy_with_updates
from editor.generation.sampling import ImageCache, generate_images
from editor.io.progress import check_canceled
from editor.judging.choices import Choices, removal_choices
from editor.judging.judge import Judge
from editor.judging.neighbours import find_neighbours
from editor.judging.prompt_groups import natural_phrases
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import Phrase

STATE_PIPELINES = ("StableDiffusionPipeline",)
"""Pipelines whose denoiser is conditioned on the states of one text encoder and nothing else."""
PROMPT_BATCH = 64
"""Prompts that are encoded in one batch."""
JudgeResult = tuple[bool, float]
"""Whether the judge recognises the concept in an image, and the image's similarity to the concept."""


@dataclass(frozen=True)
class ModelVariant:
    """The base model or the edited model."""

    pipeline: Any
    sampler: Sampler
    prompt_builder: PromptBuilder

    @property
    def encoder(self) -> Any:
        """The text encoder, a transformers ``CLIPTextModel``."""
        return self.pipeline.text_encoder

    @cached_property
    def batched_pipeline(self) -> BatchedPipeline:
        """The pipeline that generates images from hidden states, in batches. Raises AttackNotApplicable."""
        self.check_states()
        return self.sampling_pipeline

    @cached_property
    def sampling_pipeline(self) -> BatchedPipeline:
        """The pipeline whose denoising loop is ours, for attacks on latents. Raises AttackNotApplicable."""
        self.check_latents()
        return BatchedPipeline(self.pipeline, self.sampler)

    def check_states(self) -> None:
        """Check that images can be generated from the states of the first text encoder.

        Raises:
            AttackNotApplicable: the denoiser is conditioned on more than these.
        """
        self.check_pipeline(STATE_PIPELINES, "their denoisers read more than the states of one text encoder")

    def check_clip(self) -> None:
        """Check that prompts are read through CLIP. Raises AttackNotApplicable."""
        if not self.runners:
            raise AttackNotApplicable(
                f"The attack does not work with models of {type(self.pipeline).__name__}: it searches through a CLIP text "
                "encoder, and the model has none.",
                field="validation.attacks",
            )

    def check_latents(self) -> None:
        """Check that our denoising loop can start from latents. Raises AttackNotApplicable."""
        self.check_pipeline(BATCHED_PIPELINES, "it starts from latents of a UNet of Stable Diffusion or SDXL")

    def check_pipeline(self, known: Collection[str], reason: str) -> None:
        """Check that an attack works with this class of pipelines. Raises AttackNotApplicable."""
        if (name := type(self.pipeline).__name__) not in known:
            raise AttackNotApplicable(
                f"The attack does not work with models of {name}: {reason}.", field="validation.attacks"
            )

    @cached_property
    def runners(self) -> tuple[CLIPTextRunner, ...]:
        """The CLIP text encoders, run in the sampler's precision."""
        return clip_runners(self.pipeline, self.sampler.precision)

    @property
    def runner(self) -> CLIPTextRunner:
        """The first text encoder."""
        return self.runners[0]

    def encode_ids(self, ids: Tensor, encoder: int = 0) -> Tensor:
        """Return the final hidden states ``(n, length, d)`` of token ids ``(n, length)``, with gradients if enabled.

        Args:
            encoder: which CLIP text encoder; its tokenizer pads in its own way.
        """
        check_canceled()
        self.check_clip()
        runner = self.runners[encoder]
        tokenizer = getattr(self.pipeline, CLIP_COMPONENTS[runner.name])
        with runner.autocast():
            states: Tensor = runner.encoder(input_ids=pad_ids(ids, tokenizer).to(runner.device)).last_hidden_state
        return states.float()

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str], encoder: int = 0) -> Tensor:
        """Return the final hidden states ``(n, context, d)`` of prompts on the CPU, encoded in batches."""
        parts = torch.split(self.prompt_builder.token_ids(prompts), PROMPT_BATCH)
        return torch.cat([self.encode_ids(ids, encoder).cpu() for ids in parts])

    def generate_specs(self, specs: Sequence[ImageSpec]) -> list[Image]:
        """Generate images of prompts, with any family of models."""
        return generate_images(self.pipeline, self.sampler, specs)

    def generate(self, states: Tensor, seeds: Sequence[int]) -> list[Image]:
        """Generate an image from each row of hidden states ``(n, context, d)``."""
        images: list[Image] = []
        with cpu_fast_path(self.batched_pipeline.denoiser.backbone):
            for start in range(0, len(seeds), MAX_IMAGES):
                part = slice(start, start + MAX_IMAGES)
                images += self.batched_pipeline.generate(
                    self.batched_pipeline.conditioning_from_states((states[part],), torch.empty(0)), seeds[part]
                )
        return images

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """Return the scaled latents ``(n, channels, height, width)`` of images. Raises AttackNotApplicable."""
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return encode_pixels(self.sampling_pipeline.pipeline, pixels)


def make_edited_variant(before: ModelVariant, updates: Sequence[TensorUpdate]) -> ModelVariant:
    """Return the edited model, which shares all tensors but the edited ones."""
    return replace(before, pipeline=copy_with_updates(before.pipeline, updates))


@dataclass(frozen=True)
class AttackContext:
    """One removal under attack."""

    removal: ResolvedRemoval
    index: int
    """Index into the removals of the request."""
    removed: Sequence[ResolvedRemoval]
    """All removals that are active in the edited weights."""
    before: ModelVariant
    after: ModelVariant
    updates: Sequence[TensorUpdate]
    judge: Judge
    cache: ImageCache
    shared_results: dict[str, Any] = field(default_factory=dict)
    """Results that depend on the base model alone, shared by the attacks on (and edits of) this concept."""

    @property
    def prompt_builder(self) -> PromptBuilder:
        """The base model's prompt builder."""
        return self.before.prompt_builder

    @property
    def name(self) -> str:
        """The name of the concept."""
        return self.removal.concept.subject

    def get_or_compute(self, key: str, make: Callable[[], Any]) -> Any:
        """Return the shared result under a key, computed when first needed."""
        if key not in self.shared_results:
            self.shared_results[key] = make()
        return self.shared_results[key]

    @cached_property
    def concept_prompts(self) -> list[Phrase]:
        """Natural prompts that name the concept, every other one in a wording that the edit was not computed from."""
        phrases = self.prompt_builder.contexts(self.removal.concept.kind, self.name)
        own = natural_phrases(phrases, self.removal.concept.kind) or phrases
        fitting = [phrase for phrase in own if self.prompt_builder.fits(phrase.text())]
        mixed = zip(fitting, self.prompt_builder.in_held_out_wordings(fitting, self.removal.concept.kind), strict=True)
        return [phrase for pair in mixed for phrase in pair if self.prompt_builder.fits(phrase.text())]

    @cached_property
    def other_prompts(self) -> list[Phrase]:
        """Natural prompts about retained concepts."""
        builder = self.prompt_builder
        retained = builder.retain_phrases(self.removed)
        return [phrase for phrase in retained if phrase.style and not phrase.prefix and builder.fits(phrase.text())]

    @cached_property
    def choices(self) -> Choices:
        """The classes that the judge chooses from."""
        kind = self.removal.concept.kind
        neighbours = find_neighbours(self.judge, self.prompt_builder, self.removal, self.removed)
        same_kind = neighbours.names if neighbours.kind == kind else []
        return removal_choices(self.judge, kind, self.removal, same_kind, [self.name])

    def prompt_with_name(self, phrase: Phrase, name: str) -> str:
        """Return the text of a phrase about the concept, with another name in its place."""
        return phrase.about(self.removal.concept.kind, name).text()

    def judge_images(self, images: Sequence[Image]) -> list[JudgeResult]:
        """Return the judge's result for each image."""
        kind, names = self.removal.concept.kind, self.choices.names
        recognised, scores = self.judge.classify(kind, self.judge.embed_images(images), names)
        own = scores[:, names.index(self.name)].tolist()
        return [(name == self.name, score) for name, score in zip(recognised, own, strict=True)]

    def base_images(self, specs: Sequence[ImageSpec]) -> list[Image]:
        """Return images of the base model, from the cache where it has them."""
        return self.cache.generate(self.before.pipeline, self.before.sampler, specs)


def pad_ids(ids: Tensor, tokenizer: Any) -> Tensor:
    """Return token ids ``(n, length)`` with the tokenizer's padding after the first end-of-text token."""
    ends = (ids == tokenizer.eos_token_id).int().cumsum(1)
    is_padding = (ends - (ids == tokenizer.eos_token_id).int()) > 0
    return ids.masked_fill(is_padding, tokenizer.pad_token_id)


@contextmanager
def override_token_embedding(encoder: Any, token: int, embedding: Tensor) -> Iterator[None]:
    """Replace a token's embedding by ``embedding`` ``(d,)`` inside the context; gradients flow to it."""
    table = getattr(encoder, "text_model", encoder).embeddings.token_embedding

    def swap(_: Any, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.where((given[0] == token)[..., None], embedding.to(output), output)

    handle = table.register_forward_hook(swap)
    try:
        yield
    finally:
        handle.remove()
