"""Icons and steering: what a feature or a group looks like, and a picture with more or less of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editor.features.clip.decomposition import Decomposition, SparseDictionary, decoder_directions, decompose
from editor.features.clip.image_conditioned_pipelines import ImageConditionedPipeline, generate_from_embeddings
from editor.features.clip.spherical_kmeans import MAX_GROUPS, MIN_GROUP_SHARE, Grouping, group_directions
from editor.generation.config import Image, Sampler
from editor.io.progress import ProgressCallback, no_progress

STRENGTHS = (0.0, 0.5, 1.0, 1.5, 2.0)
"""Factors of a group's own activation."""


@dataclass(frozen=True)
class GroupedEmbedding:
    """A picture's embedding as groups of features."""

    decomposition: Decomposition
    grouping: Grouping

    def group_vector(self, number: int) -> Tensor:
        """``(d,)``: what a group adds to the embedding."""
        return self.decomposition.contribution(self.grouping.members[number])

    def steer(self, scales: Sequence[float]) -> Tensor:
        """``(d,)``: the embedding with each group scaled; what no feature explains stays."""
        factors = torch.ones(len(self.decomposition.latents))
        for members, scale in zip(self.grouping.members, scales, strict=True):
            factors[list(members)] = scale
        return self.decomposition.steer(factors)


def group_embedding(
    sae: SparseDictionary,
    embedding: Tensor,
    threshold: float = MIN_GROUP_SHARE,
    max_groups: int = MAX_GROUPS,
    seed: int = 0,
) -> GroupedEmbedding:
    """Decompose a ``(d,)`` embedding and group its features.

    Raises:
        FeatureError: no feature is active in it.
    """
    parts = decompose(sae, embedding)
    return GroupedEmbedding(parts, group_directions(parts.directions, parts.activations, threshold, max_groups, seed))


@dataclass(frozen=True)
class EmbeddingRenderer:
    """A pipeline with its settings, and one seed: pictures differ by their embeddings alone."""

    pipeline: ImageConditionedPipeline
    sampler: Sampler
    seed: int = 0

    def render(self, embeddings: Tensor, tick: ProgressCallback = no_progress) -> list[Image]:
        """One picture for each row of ``(n, d)``."""
        return generate_from_embeddings(self.pipeline, self.sampler, embeddings, [self.seed] * len(embeddings), tick)

    def render_icon(self, vector: Tensor, base: Tensor, strengths: Sequence[float] = STRENGTHS) -> list[Image]:
        """A direction drawn on a base embedding, ``(d,)`` both, in growing strength.

        Daujotas' icons are this at one strength: "E + base_embed".
        """
        return self.render(add_scaled(vector, base, strengths))


def add_scaled(vector: Tensor, base: Tensor, strengths: Sequence[float]) -> Tensor:
    """``(..., strengths, d)``: ``(..., d)`` bases with growing shares of a vector added."""
    return base[..., None, :] + torch.tensor(strengths)[:, None] * vector


def latent_vector(sae: SparseDictionary, latent: int, width: int, activation: float = 1.0) -> Tensor:
    """``(d,)``: what one latent of a dictionary of ``width`` adds at an activation."""
    return activation * decoder_directions(sae, torch.tensor([latent]), width)[0]
