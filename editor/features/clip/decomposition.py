"""An image embedding as a sum of a few features, and the embedding with some of them stronger or weaker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class SparseDictionary(Protocol):
    """What is asked of a sparse autoencoder. ``decode`` is affine in the code."""

    def encode(self, x: Tensor) -> Tensor:
        """``(n, d)`` -> ``(n, latents)``, not negative."""

    def decode(self, z: Tensor) -> Tensor:
        """``(n, latents)`` -> ``(n, d)``."""


@dataclass(frozen=True)
class Decomposition:
    """The features active in one embedding, strongest first. What they leave unexplained stays in ``embedding``."""

    embedding: Tensor
    """``(d,)``."""
    latents: Tensor
    """``(m,)`` latents."""
    activations: Tensor
    """``(m,)``, positive."""
    directions: Tensor
    """``(m, d)``: what a unit of each feature adds to the embedding."""

    def steer(self, scales: Tensor) -> Tensor:
        """``(..., m)`` factors of the activations -> ``(..., d)`` embeddings.

        This is decode(scaled code) + (embedding - decode(code)), the reconstruction error added back: decoding is affine.
        """
        return self.embedding + ((scales - 1) * self.activations) @ self.directions

    def contribution(self, members: Sequence[int]) -> Tensor:
        """``(d,)``: what some of the features, by their place here, add to the embedding."""
        index = torch.tensor(members)
        return self.activations[index] @ self.directions[index]


@torch.no_grad()
def decoder_directions(sae: SparseDictionary, latents: Tensor, width: int) -> Tensor:
    """``(m, d)``: what a unit of each latent adds to a decoded embedding."""
    units = torch.zeros(len(latents), width).scatter_(1, latents[:, None], 1.0)
    return sae.decode(units) - base_embedding(sae, width)


@torch.no_grad()
def base_embedding(sae: SparseDictionary, width: int) -> Tensor:
    """``(d,)``: what the empty code decodes to, the embedding of nothing in particular."""
    return sae.decode(torch.zeros(1, width))[0]


@torch.no_grad()
def decompose(sae: SparseDictionary, embedding: Tensor) -> Decomposition:
    """The active features of one ``(d,)`` embedding."""
    code = sae.encode(embedding[None])[0]
    latents = code.argsort(descending=True, stable=True)[: int((code > 0).sum())]
    return Decomposition(embedding, latents, code[latents], decoder_directions(sae, latents, len(code)))
