"""Icons and steering: what a feature or a group looks like, and a picture with more or less of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editor.features.clip.decomposition import Decomposition, Dictionary, decompose, directions
from editor.features.clip.image_conditioned_pipelines import ImageConditioned, draw_embeddings
from editor.features.clip.spherical_kmeans import LARGEST, THRESHOLD, Grouping, group
from editor.generation.config import Image, Sampler
from editor.io.progress import ProgressCallback, no_progress

STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Factors of a group's own activation."""


@dataclass(frozen=True)
class Grouped:
    """A picture's embedding as groups of features."""

    parts: Decomposition
    grouping: Grouping

    def vector(self, number: int) -> Tensor:
        """``(d,)``: what a group adds to the embedding."""
        return self.parts.part(self.grouping.members[number])

    def steered(self, scales: Sequence[float]) -> Tensor:
        """``(d,)``: the embedding with each group scaled; what no feature explains stays."""
        factors = torch.ones(len(self.parts.features))
        for members, scale in zip(self.grouping.members, scales, strict=True):
            factors[list(members)] = scale
        return self.parts.steered(factors)


def grouped(
    sae: Dictionary, embedding: Tensor, threshold: float = THRESHOLD, largest: int = LARGEST, seed: int = 0
) -> Grouped:
    """Decompose a ``(d,)`` embedding and group its features.

    Raises:
        FeatureError: no feature is active in it.
    """
    parts = decompose(sae, embedding)
    return Grouped(parts, group(parts.directions, parts.activations, threshold, largest, seed))


@dataclass(frozen=True)
class Easel:
    """A pipeline with its settings, and one seed: pictures differ by their embeddings alone."""

    model: ImageConditioned
    sampler: Sampler
    seed: int = 0

    def draw(self, embeddings: Tensor, tick: ProgressCallback = no_progress) -> list[Image]:
        """One picture for each row of ``(n, d)``."""
        return draw_embeddings(self.model, self.sampler, embeddings, [self.seed] * len(embeddings), tick)

    def icon(self, vector: Tensor, base: Tensor, strengths: Sequence[float] = STRENGTHS) -> list[Image]:
        """A direction drawn on a base embedding, ``(d,)`` both, in growing strength.

        Daujotas' icons are this at one strength: "E + base_embed".
        """
        return self.draw(along(vector, base, strengths))


def along(vector: Tensor, base: Tensor, strengths: Sequence[float]) -> Tensor:
    """``(..., strengths, d)``: ``(..., d)`` bases with growing shares of a vector added."""
    return base[..., None, :] + torch.tensor(strengths)[:, None] * vector


def latent_vector(sae: Dictionary, latent: int, width: int, activation: float = 1.0) -> Tensor:
    """``(d,)``: what one latent of a dictionary of ``width`` adds at an activation."""
    return activation * directions(sae, torch.tensor([latent]), width)[0]
