"""Draw and judge: what every measurement shares."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from editor import emoji
from editor.checkpoints import TextEncoder, open_checkpoint
from editor.checkpoints.safe_paths import file_digest, weight_files
from editor.emoji.profile import styled_object_phrases
from editor.generation.config import Image, ImageSpec, Sampler, native_precision
from editor.generation.sampling import ImageCache, apply_updates, generate_images, load_pipeline, revert_updates
from editor.judging.judge import Judge, open_judge
from editor.methods.config import Preset
from editor.methods.default import TensorEdit
from editor.methods.tensor_update import TensorUpdate
from editor.prompts import PromptBuilder, open_prompt_builder
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.templates import evenly_spaced

SAMPLER = Sampler(steps=20, guidance=3.0, precision=native_precision())
OTHERS: dict[Preset, int] = {"default": 96, "paper": 32}
"""Prompts about other things; what the released procedure loses shows in few."""


@dataclass(frozen=True)
class Studio:
    """The embedded model, its judge, and images of the unedited model."""

    cache: Path

    @cached_property
    def encoder(self) -> TextEncoder:
        """The text encoder that is edited."""
        return open_checkpoint(emoji.WEIGHTS).encoders[0]

    @cached_property
    def book(self) -> PromptBuilder:
        """Its prompts."""
        return open_prompt_builder(emoji.WEIGHTS)

    @cached_property
    def judge(self) -> Judge:
        """Never the edited encoder."""
        return open_judge(emoji.JUDGE, emoji.WEIGHTS, self.book.profile)

    @cached_property
    def pipeline(self) -> Any:
        """The whole model."""
        return load_pipeline(emoji.WEIGHTS)

    @cached_property
    def before(self) -> ImageCache:
        """Images of the unedited model."""
        return ImageCache(self.cache, "".join(map(file_digest, weight_files(emoji.WEIGHTS).values())))

    @contextmanager
    def edited(self, edits: Sequence[TensorEdit]) -> Iterator[None]:
        """Within, the pipeline is the edited model's."""
        updates: list[TensorUpdate] = [done.update for done in edits]
        apply_updates(self.pipeline, updates)
        try:
            yield
        finally:
            revert_updates(self.pipeline, updates)

    def both(self, edits: Sequence[TensorEdit], shots: Sequence[ImageSpec]) -> tuple[list[Image], list[Image]]:
        """Images before and after."""
        before = self.before.generate(self.pipeline, SAMPLER, shots)
        with self.edited(edits):
            return before, generate_images(self.pipeline, SAMPLER, shots)

    def hits(self, images: Sequence[Image], phrases: Sequence[Phrase], asks: ConceptKind) -> list[bool]:
        """Whether the judge finds in each image what its prompt asked for."""
        found, _ = self.judge.classify(asks, self.judge.embed_images(images), self.judge.class_names(asks))
        return [name == getattr(phrase, asks) for name, phrase in zip(found, phrases, strict=True)]

    def seen(self, images: Sequence[Image]) -> Tensor:
        """Unit embeddings of images in the judge's space, (n, width)."""
        return F.normalize(self.judge.embed_images(images).double())

    def about(self, name: str, limit: int) -> list[Phrase]:
        """Prompts that name a concept: the grid's, and the same in held-out wordings."""
        own = evenly_spaced(
            [phrase for phrase in styled_object_phrases() if name in (phrase.object, phrase.style)], limit
        )
        return own + self.book.in_held_out_wordings(own)


def others(names: Sequence[str], limit: int = OTHERS["default"]) -> list[Phrase]:
    """Prompts of the grid that name none of some concepts."""
    return evenly_spaced([p for p in styled_object_phrases() if p.object not in names and p.style not in names], limit)


def share(hits: Sequence[bool]) -> float:
    """Of those that are true."""
    return sum(hits) / len(hits)
