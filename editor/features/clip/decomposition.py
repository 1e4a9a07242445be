"""Decompose an image embedding into a few features, and scale some of them up or down."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class SparseDictionary(Protocol):
    """The interface of a sparse autoencoder that is used here. ``decode`` must be affine in the code."""

    def encode(self, x: Tensor) -> Tensor:
        """Encode ``(n, d)`` embeddings as ``(n, latents)`` non-negative codes."""

    def decode(self, z: Tensor) -> Tensor:
        """Decode ``(n, latents)`` codes to ``(n, d)`` embeddings."""


@dataclass(frozen=True)
class Decomposition:
    """The latents that are active in one embedding, strongest first. ``embedding`` includes the reconstruction error."""

    embedding: Tensor
    """``(d,)``."""
    latents: Tensor
    """``(m,)`` latent indices."""
    activations: Tensor
    """``(m,)``, positive."""
    directions: Tensor
    """``(m, d)``: what a unit activation of each latent adds to the embedding."""

    def steer(self, scales: Tensor) -> Tensor:
        """Scale the activations by ``(..., m)`` factors and return the ``(..., d)`` embeddings.

        Because decoding is affine, this equals decode(scaled code) + (embedding - decode(code)): the reconstruction error
        is preserved.
        """
        return self.embedding + ((scales - 1) * self.activations) @ self.directions

    def contribution(self, members: Sequence[int]) -> Tensor:
        """Return what the latents at these positions of ``latents`` add to the embedding, ``(d,)``."""
        index = torch.tensor(members)
        return self.activations[index] @ self.directions[index]


@torch.no_grad()
def decoder_directions(sae: SparseDictionary, latents: Tensor, width: int) -> Tensor:
    """Return what a unit activation of each latent adds to a decoded embedding, ``(m, d)``.

    Args:
        latents: ``(m,)`` latent indices.
        width: number of latents of the dictionary.
    """
    units = torch.zeros(len(latents), width).scatter_(1, latents[:, None], 1.0)
    return sae.decode(units) - base_embedding(sae, width)


@torch.no_grad()
def base_embedding(sae: SparseDictionary, width: int) -> Tensor:
    """Return the ``(d,)`` embedding that the all-zero code of ``width`` latents decodes to, Daujotas' ``base_embed``."""
    return sae.decode(torch.zeros(1, width))[0]


@torch.no_grad()
def decompose(sae: SparseDictionary, embedding: Tensor) -> Decomposition:
    """Find the active latents of one ``(d,)`` embedding."""
    code = sae.encode(embedding[None])[0]
    latents = code.argsort(descending=True, stable=True)[: int((code > 0).sum())]
    return Decomposition(embedding, latents, code[latents], decoder_directions(sae, latents, len(code)))
