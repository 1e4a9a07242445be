"""What an attack may use: the model before and after, the removed concept, and who says whether it shows."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from editor.features.activations.noised_source import encode_pixels
from editor.generation.batched_pipeline import BatchedPipeline
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.cpu_optimizations import cpu_fast_path
from editor.generation.sampling import BATCH_SIZE, ImageCache, apply_updates
from editor.judging.judge import Judge
from editor.methods.tensor_update import TensorUpdate
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import Phrase

PROMPT_BATCH = 64
"""Prompts that are encoded at once."""
JudgeResult = tuple[bool, float]
"""Whether the judge recognised the concept in an image, and how like the concept the image is."""


@dataclass(frozen=True)
class ModelVariant:
    """The model before or after the edit."""

    pipeline: Any
    sampler: Sampler
    book: PromptBuilder

    @property
    def encoder(self) -> Any:
        """Its text encoder, a transformers ``CLIPTextModel``."""
        return self.pipeline.text_encoder

    @cached_property
    def batched_pipeline(self) -> BatchedPipeline:
        """Draws from states."""
        return BatchedPipeline(self.pipeline, self.sampler)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """``(n, length)`` token ids -> last states ``(n, length, d)``, with gradients where these are on."""
        with self.batched_pipeline.encoders[0].autocast():
            states: Tensor = self.encoder(input_ids=ids).last_hidden_state
        return states.float()

    @torch.no_grad()
    def encode_prompts(self, prompts: Sequence[str]) -> Tensor:
        """``(n, context, d)``, some prompts at a time."""
        return torch.cat([self.encode_ids(ids) for ids in torch.split(self.book.token_ids(prompts), PROMPT_BATCH)])

    def generate(self, states: Tensor, seeds: Sequence[int]) -> list[Image]:
        """An image of each row of states ``(n, context, d)``."""
        images: list[Image] = []
        with cpu_fast_path(self.batched_pipeline.denoiser.backbone):
            for start in range(0, len(seeds), BATCH_SIZE):
                part = slice(start, start + BATCH_SIZE)
                images += self.batched_pipeline.generate(
                    self.batched_pipeline.conditioning_from_states((states[part],), torch.empty(0)), seeds[part]
                )
        return images

    def encode_images(self, images: Sequence[Image]) -> Tensor:
        """Images -> scaled latents ``(n, channels, height, width)``."""
        pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return encode_pixels(self.pipeline, pixels)


def make_edited_variant(before: ModelVariant, updates: Sequence[TensorUpdate]) -> ModelVariant:
    """The edited model: the same image half with a text encoder of its own."""
    parts = before.pipeline.components | {"text_encoder": deepcopy(before.encoder)}
    pipeline = type(before.pipeline)(**parts, requires_safety_checker=False)
    apply_updates(pipeline, updates)
    return ModelVariant(pipeline, before.sampler, before.book)


@dataclass(frozen=True)
class AttackContext:
    """One removal, attacked."""

    removal: ResolvedRemoval
    index: int
    """Into the removals of the request."""
    removed: Sequence[ResolvedRemoval]
    """All that the edited weights no longer draw."""
    before: ModelVariant
    after: ModelVariant
    updates: Sequence[TensorUpdate]
    judge: Judge
    cache: ImageCache
    shared_results: dict[str, Any] = field(default_factory=dict)
    """What several attacks, or edits, of this removal share: searches on the base model, say."""

    @property
    def book(self) -> PromptBuilder:
        """Its prompts."""
        return self.before.book

    @property
    def name(self) -> str:
        """The concept's."""
        return self.removal.concept.subject

    def get_or_compute(self, key: str, make: Callable[[], Any]) -> Any:
        """What depends on the base model alone is made once."""
        if key not in self.shared_results:
            self.shared_results[key] = make()
        return self.shared_results[key]

    @cached_property
    def concept_prompts(self) -> list[Phrase]:
        """Prompts that name the concept, as people write them: half of them in wordings that the edit never saw."""
        every = self.book.contexts(self.removal.concept.kind, self.name)
        own = [phrase for phrase in every if phrase.style and not phrase.prefix] or every
        fitting = [phrase for phrase in own if self.book.fits(phrase.text())]
        mixed = zip(fitting, self.book.in_held_out_wordings(fitting), strict=True)
        return [phrase for pair in mixed for phrase in pair if self.book.fits(phrase.text())]

    @cached_property
    def other_prompts(self) -> list[Phrase]:
        """Prompts about what is kept, of the same kind."""
        return [
            p for p in self.book.retain_phrases(self.removed) if p.style and not p.prefix and self.book.fits(p.text())
        ]

    def prompt_with_name(self, phrase: Phrase, name: str) -> str:
        """A phrase about the concept, with another name for it."""
        return (
            replace(phrase, object=name) if self.removal.concept.kind == "object" else replace(phrase, style=name)
        ).text()

    def judge_images(self, images: Sequence[Image]) -> list[JudgeResult]:
        """What the judge says of each image."""
        kind = self.removal.concept.kind
        names = self.judge.class_names(kind, [self.name])
        found, scores = self.judge.classify(kind, self.judge.embed_images(images), names)
        own = scores[:, names.index(self.name)].tolist()
        return [(name == self.name, score) for name, score in zip(found, own, strict=True)]

    def base_images(self, shots: Sequence[ImageSpec]) -> list[Image]:
        """Of the base model, from the cache where they are there."""
        return self.cache.generate(self.before.pipeline, self.before.sampler, shots)


@contextmanager
def override_token_embedding(encoder: Any, token: int, embedding: Tensor) -> Iterator[None]:
    """Within, a token's embedding is ``embedding`` ``(d,)``, and gradients reach it."""
    table = getattr(encoder, "text_model", encoder).embeddings.token_embedding

    def swap(_: Any, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return torch.where((given[0] == token)[..., None], embedding.to(output.dtype), output)

    handle = table.register_forward_hook(swap)
    try:
        yield
    finally:
        handle.remove()
