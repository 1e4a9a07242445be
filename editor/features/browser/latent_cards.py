"""What the browser shows of each latent: its strongest images, some at quantiles, and some at random.

The strongest alone deceive: nearly every latent looks clean in its top ten (Bolukbasi et al. 2021, arXiv 2104.07143).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.features.sae.label_purity import indexed, purity
from editor.features.sae.model import SparseAutoencoder
from editor.generation.config import Image

TOP, RANDOM = 8, 8
QUANTILES = (0.95, 0.9, 0.8, 0.7, 0.5, 0.4, 0.25, 0.1)
TEXTS = 5
PURE = 10
"""Strongest images that a latent's texts are nearest to, and that its labels are counted in."""
BINS = 20
SCALE_QUANTILE = 0.999
"""Of all positive activations: where the one colour scale of a page ends."""
ITEMS = 64
"""Images that are encoded at once."""


@dataclass(frozen=True)
class Texts:
    """Words that a latent may be near to, and a CLIP's embeddings of them and of the images."""

    words: list[str]
    of_words: Tensor
    """``(words, d)``"""
    of_images: Tensor
    """``(items, d)``"""

    def nearness(self, strengths: Tensor) -> Tensor:
        """``(items, latents)`` -> cosines ``(latents, words)``, of the mean of a latent's strongest images.

        Both kinds of embeddings are centred: all images lie on one side of the sphere and all texts on another.
        """
        least = strengths.topk(min(PURE, len(strengths)), dim=0).values[-1]
        weights = strengths * (strengths >= least)
        images, words = (F.normalize(kind - kind.mean(0)) for kind in (self.of_images, self.of_words))
        return F.normalize(weights.T @ images) @ words.T


@dataclass(frozen=True)
class Browsable:
    """An autoencoder and images that it can be shown on."""

    sae: SparseAutoencoder
    title: str
    card: dict[str, Any]
    images: Sequence[Image]
    maps: Callable[[range], Tensor]
    """Some of the items -> ``(items, height, width, channels)`` activations."""
    grid: tuple[int, int]
    labels: dict[str, list[str]]
    texts: Texts | None = None


@dataclass(frozen=True)
class Latent:
    """One card of the page. Images are numbers into the sheet; strengths are the largest activation over positions."""

    latent: int
    density: float
    """Share of positions where it is active."""
    images: float
    """Share of images where it is active anywhere."""
    top: list[int]
    quantiles: list[int]
    random: list[int]
    histogram: list[int]
    """Its positive activations on the page's scale."""
    labels: dict[str, tuple[str, float]]
    """Kind -> most frequent label among the ten strongest images, and its share; none where fewer are active."""
    words: list[tuple[str, float]]


@dataclass(frozen=True)
class Contents:
    """All of a page."""

    latents: list[Latent]
    activations: Tensor
    """``(items, positions, latents)`` float16."""
    scale: float
    """Where the colours end."""
    nearness: Tensor | None
    """``(latents, words)`` cosines, for the search."""


@torch.no_grad()
def contents(shown: Browsable, seed: int = 0) -> Contents:
    """Encode all images, and choose what to show."""
    activations = encoded(shown)
    strengths = activations.amax(1).float()
    scale = top_of_scale(activations)
    nearness = shown.texts.nearness(strengths) if shown.texts else None
    labels = {kind: purities(strengths, own) for kind, own in shown.labels.items()}
    words = nearest_words(shown.texts.words, nearness) if shown.texts and nearness is not None else []
    generator = torch.Generator().manual_seed(seed)
    latents = []
    for latent in range(shown.sae.latents):
        own = strengths[:, latent]
        order = own.argsort(descending=True, stable=True)
        order = order[own[order] > 0]
        latents.append(
            Latent(
                latent=latent,
                density=float((activations[:, :, latent] > 0).double().mean()),
                images=len(order) / len(own),
                top=order[:TOP].tolist(),
                quantiles=at_quantiles(order),
                random=order[torch.randperm(len(order), generator=generator)[:RANDOM]].tolist(),
                histogram=histogram(activations[:, :, latent].float(), scale),
                labels={kind: found[latent] for kind, found in labels.items() if len(order) >= PURE},
                words=words[latent] if words and len(order) else [],
            )
        )
    return Contents(latents, activations, scale, nearness)


def encoded(shown: Browsable) -> Tensor:
    """``(items, positions, latents)`` float16."""
    height, width = shown.grid
    parts = []
    for start in range(0, len(shown.images), ITEMS):
        maps = shown.maps(range(start, min(start + ITEMS, len(shown.images))))
        codes = shown.sae.encode(maps.flatten(0, 2))
        parts.append(codes.half().view(len(maps), height * width, -1))
    return torch.cat(parts)


def top_of_scale(activations: Tensor) -> float:
    """Over all latents and images, so that a weak latent looks weak."""
    positive = activations[activations > 0].float()
    rank = max(1, round(SCALE_QUANTILE * len(positive)))
    return float(positive.kthvalue(rank).values) if len(positive) else 1.0


def at_quantiles(order: Tensor) -> list[int]:
    """Images that a latent is active in, at fixed shares of their order; ``order`` is strongest first."""
    count = len(order)
    if count <= TOP:
        return []
    return order[[min(count - 1, int((1 - quantile) * count)) for quantile in QUANTILES]].tolist()


def histogram(values: Tensor, scale: float) -> list[int]:
    """Positive activations in even bins; what lies beyond the scale is in the last."""
    positive = values[values > 0].clamp_max(scale)
    return torch.histc(positive, BINS, 0, scale).long().tolist() if len(positive) else [0] * BINS


def purities(strengths: Tensor, labels: Sequence[str]) -> list[tuple[str, float]]:
    """For each latent the label that most of its strongest images have, and the share that has it."""
    numbers, names = indexed(labels)
    found = purity(strengths, numbers, PURE)
    return [(names[label], share) for label, share in zip(found.label.tolist(), found.purity.tolist(), strict=True)]


def nearest_words(words: Sequence[str], nearness: Tensor) -> list[list[tuple[str, float]]]:
    """For each latent."""
    best = nearness.topk(min(TEXTS, len(words)), dim=1)
    return [
        [(words[index], value) for index, value in zip(indices, values, strict=True)]
        for indices, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
