"""Generate images with the embedded model and judge them; shared by all studies. Imported, not run."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from api_schemas.edits import MethodName
from editor import emoji
from editor.checkpoints import TextEncoder, open_checkpoint
from editor.checkpoints.safe_paths import weight_files
from editor.emoji.profile import styled_object_phrases
from editor.generation.config import Image, ImageSpec, Sampler, native_precision
from editor.generation.edited_weights import edited_weights
from editor.generation.pipelines import load_pipeline
from editor.generation.sampling import ImageCache, generate_images
from editor.io.digests import file_digest
from editor.judging.judge import Judge, open_judge
from editor.methods.tensor_edits import TensorEdit
from editor.prompts import PromptBuilder, open_prompt_builder
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.phrase_samples import sample_varied
from editor.prompts.templates import evenly_spaced

SAMPLER = Sampler(steps=20, guidance=3.0, precision=native_precision())
OTHER_PROMPTS: dict[MethodName, int] = {"default": 96, "diff_quickfix": 32}
"""Number of prompts about other concepts. The damage of the released procedure is large enough to show in a few."""


@dataclass(frozen=True)
class EmbeddedModel:
    """The embedded model, its judge, and a cache of the unedited model's images."""

    cache: Path

    @cached_property
    def encoder(self) -> TextEncoder:
        """The text encoder that is edited."""
        return open_checkpoint(emoji.WEIGHTS).encoders[0]

    @cached_property
    def prompt_builder(self) -> PromptBuilder:
        """The text encoder's prompt builder."""
        return open_prompt_builder(emoji.WEIGHTS)

    @cached_property
    def judge(self) -> Judge:
        """The judge, whose encoder is never the edited one."""
        return open_judge(emoji.JUDGE, emoji.WEIGHTS, self.prompt_builder.profile)

    @cached_property
    def pipeline(self) -> Any:
        """The whole pipeline."""
        return load_pipeline(emoji.WEIGHTS)

    @cached_property
    def base_images(self) -> ImageCache:
        """The cache of the unedited model's images."""
        return ImageCache(self.cache, "".join(map(file_digest, weight_files(emoji.WEIGHTS).values())))

    def with_edits(self, edits: Sequence[TensorEdit]) -> AbstractContextManager[None]:
        """Apply edits to the pipeline, and revert them on exit."""
        return edited_weights(self.pipeline, [edit.update for edit in edits])

    def generate_pairs(
        self, edits: Sequence[TensorEdit], specs: Sequence[ImageSpec]
    ) -> tuple[list[Image], list[Image]]:
        """Generate images before and after the edits."""
        before = self.base_images.generate(self.pipeline, SAMPLER, specs)
        with self.with_edits(edits):
            return before, generate_images(self.pipeline, SAMPLER, specs)

    def judge_hits(self, images: Sequence[Image], phrases: Sequence[Phrase], kind: ConceptKind) -> list[bool]:
        """Return whether the judge recognises in each image the object or style that its prompt names."""
        names, _ = self.judge.classify(kind, self.judge.embed_images(images), self.judge.class_names(kind))
        return [name == getattr(phrase, kind) for name, phrase in zip(names, phrases, strict=True)]

    def embed_images(self, images: Sequence[Image]) -> Tensor:
        """Return unit embeddings of images in the judge's space, ``(n, width)``."""
        return F.normalize(self.judge.embed_images(images).double())

    def concept_phrases(self, name: str, limit: int) -> list[Phrase]:
        """Return phrases that name a concept: at most ``limit`` of the grid, and the same in held-out wordings."""
        phrases = evenly_spaced(
            [phrase for phrase in styled_object_phrases() if name in (phrase.object, phrase.style)], limit
        )
        return phrases + self.prompt_builder.in_held_out_wordings(phrases)


def other_phrases(names: Sequence[str], limit: int = OTHER_PROMPTS["default"]) -> list[Phrase]:
    """Return phrases of the grid that name none of the concepts."""
    others = (p for p in styled_object_phrases() if p.object not in names and p.style not in names)
    return list(sample_varied(others, limit))


def accuracy(hits: Sequence[bool]) -> float:
    """Return the share of hits."""
    return sum(hits) / len(hits)
