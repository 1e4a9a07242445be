"""Icons and steering: render a feature or a group of features, and an image with more or less of it."""

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
"""Default multiples of a group's activation."""


@dataclass(frozen=True)
class GroupedEmbedding:
    """An image embedding, decomposed into groups of features."""

    decomposition: Decomposition
    grouping: Grouping

    def group_vector(self, number: int) -> Tensor:
        """Return what a group adds to the embedding, ``(d,)``."""
        return self.decomposition.contribution(self.grouping.members[number])

    def steer(self, scales: Sequence[float]) -> Tensor:
        """Return the ``(d,)`` embedding with each group scaled; the reconstruction error is preserved."""
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
    """Decompose a ``(d,)`` embedding and group its active features.

    Raises:
        FeatureError: no feature is active.
    """
    parts = decompose(sae, embedding)
    return GroupedEmbedding(parts, group_directions(parts.directions, parts.activations, threshold, max_groups, seed))


@dataclass(frozen=True)
class EmbeddingRenderer:
    """Renders embeddings with fixed settings and one seed, so that images differ only by their embeddings."""

    pipeline: ImageConditionedPipeline
    sampler: Sampler
    seed: int = 0

    def render(self, embeddings: Tensor, progress: ProgressCallback = no_progress) -> list[Image]:
        """Generate one image per row of ``(n, d)``."""
        return generate_from_embeddings(
            self.pipeline, self.sampler, embeddings, [self.seed] * len(embeddings), progress
        )

    def render_icon(self, vector: Tensor, base: Tensor, strengths: Sequence[float] = STRENGTHS) -> list[Image]:
        """Render a ``(d,)`` direction added to a ``(d,)`` base embedding with increasing strength.

        Daujotas' icons are this at a single strength, "E + base_embed".
        """
        return self.render(add_scaled(vector, base, strengths))


def add_scaled(vector: Tensor, base: Tensor, strengths: Sequence[float]) -> Tensor:
    """Add multiples of a vector to ``(..., d)`` bases: ``(..., strengths, d)``."""
    return base[..., None, :] + torch.tensor(strengths)[:, None] * vector


def latent_vector(sae: SparseDictionary, latent: int, width: int, activation: float = 1.0) -> Tensor:
    """Return what one of ``width`` latents adds to an embedding at an activation, ``(d,)``."""
    return activation * decoder_directions(sae, torch.tensor([latent]), width)[0]
