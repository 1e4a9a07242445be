"""The cards of a browser page. For each latent: its strongest images, images at quantiles, and random images.

The strongest images alone are misleading: almost every latent looks interpretable in its top ten (Bolukbasi et al. 2021,
arXiv 2104.07143).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.features.sae.label_purity import index_labels, latent_purity
from editor.features.sae.model import SparseAutoencoder
from editor.generation.config import Image

TOP_IMAGES, RANDOM_IMAGES = 8, 8
QUANTILES = (0.95, 0.9, 0.8, 0.7, 0.5, 0.4, 0.25, 0.1)
NEAREST_TEXTS = 5
LABELLED_IMAGES = 10
"""Strongest images that determine a latent's labels and nearest texts."""
HISTOGRAM_BINS = 20
SCALE_QUANTILE = 0.999
"""Quantile of all positive activations at which the color scale of a page ends."""
BATCH_ACTIVATIONS = 2**25
"""Activations in memory at once while images are encoded."""


@dataclass(frozen=True)
class TextEmbeddings:
    """Candidate texts for latents, and CLIP embeddings of the texts and of the images."""

    words: list[str]
    of_words: Tensor
    """``(words, d)``"""
    of_images: Tensor
    """``(items, d)``"""

    def similarity(self, strengths: Tensor) -> Tensor:
        """Return the cosine of each latent's mean top image to each text, ``(latents, words)``.

        Image and text embeddings are centered separately, because they occupy different regions (the modality gap).

        Args:
            strengths: ``(items, latents)``.
        """
        least = strengths.topk(min(LABELLED_IMAGES, len(strengths)), dim=0).values[-1]
        weights = strengths * (strengths >= least)
        images, words = (F.normalize(kind - kind.mean(0)) for kind in (self.of_images, self.of_words))
        return F.normalize(weights.T @ images) @ words.T


@dataclass(frozen=True)
class BrowserInput:
    """An autoencoder with images and their activations."""

    sae: SparseAutoencoder
    title: str
    card: dict[str, Any]
    images: Sequence[Image]
    maps: Callable[[range], Tensor]
    """Range of items -> ``(items, height, width, channels)`` activations."""
    grid: tuple[int, int]
    labels: dict[str, list[str]]
    texts: TextEmbeddings | None = None

    def caption(self, item: int) -> str:
        """Return the labels of an image."""
        return ", ".join(values[item] for values in self.labels.values())


@dataclass(frozen=True)
class ChosenImages:
    """The images of a latent, as item indices ranked by their maximum activation over positions."""

    top: list[int]
    quantiles: list[int]
    random: list[int]

    @property
    def groups(self) -> tuple[list[int], list[int], list[int]]:
        """The strongest images, those at quantiles, and the random ones."""
        return self.top, self.quantiles, self.random


@dataclass(frozen=True)
class LatentCard(ChosenImages):
    """One card of the page."""

    latent: int
    density: float
    """Share of positions at which the latent is active."""
    images: float
    """Share of images in which the latent is active at any position."""
    histogram: list[int]
    """Histogram of its positive activations up to the end of the color scale."""
    labels: dict[str, tuple[str, float]]
    """Kind -> most frequent label among the ten strongest images, and its share; empty if fewer images are active."""
    words: list[tuple[str, float]]


@dataclass(frozen=True)
class BrowserContents:
    """The contents of a page."""

    latents: list[LatentCard]
    activations: Tensor
    """``(items, positions, latents)`` float16."""
    scale: float
    """Activation at which the color scale ends."""
    similarity: Tensor | None
    """``(latents, words)`` cosines, for text search."""


@torch.no_grad()
def build_contents(source: BrowserInput, seed: int = 0) -> BrowserContents:
    """Encode all images and build the cards."""
    activations = encode_images(source)
    strengths = activations.amax(1).float()
    scale = color_scale_maximum(activations)
    similarity = source.texts.similarity(strengths) if source.texts else None
    labels = {kind: dominant_labels(strengths, values) for kind, values in source.labels.items()}
    words = nearest_words(source.texts.words, similarity) if source.texts and similarity is not None else []
    generator = torch.Generator().manual_seed(seed)
    latents = []
    for latent in range(source.sae.latents):
        order = rank_images(strengths[:, latent])
        latents.append(
            LatentCard(
                **vars(choose_images(order, generator)),
                latent=latent,
                density=float((activations[:, :, latent] > 0).double().mean()),
                images=len(order) / len(strengths),
                histogram=activation_histogram(activations[:, :, latent].float(), scale),
                labels={kind: dominant[latent] for kind, dominant in labels.items() if len(order) >= LABELLED_IMAGES},
                words=words[latent] if words and len(order) else [],
            )
        )
    return BrowserContents(latents, activations, scale, similarity)


def encode_images(source: BrowserInput) -> Tensor:
    """Encode all images as ``(items, positions, latents)`` float16."""
    return torch.cat([codes.half() for _, codes in encode_batches(source)])


def encode_batches(source: BrowserInput) -> Iterator[tuple[range, Tensor]]:
    """Yield the indices of some images with their ``(items, positions, latents)`` activations, until all were encoded."""
    height, width = source.grid
    size = max(1, BATCH_ACTIVATIONS // (height * width * source.sae.latents))
    for start in range(0, len(source.images), size):
        items = range(start, min(start + size, len(source.images)))
        codes = source.sae.encode(source.maps(items).flatten(0, 2))
        yield items, codes.view(len(items), height * width, -1)


def rank_images(strength: Tensor) -> Tensor:
    """Return the items in which a latent is active, strongest first, from its ``(items,)`` maximum activations."""
    order = strength.argsort(descending=True, stable=True)
    return order[strength[order] > 0]


def choose_images(order: Tensor, generator: torch.Generator) -> ChosenImages:
    """Choose the images of a latent from its ranked items."""
    return ChosenImages(
        top=order[:TOP_IMAGES].tolist(),
        quantiles=quantile_images(order),
        random=order[torch.randperm(len(order), generator=generator)[:RANDOM_IMAGES]].tolist(),
    )


def color_scale_maximum(activations: Tensor) -> float:
    """Return the end of the color scale, shared by all latents so that weak latents look weak."""
    positive = activations[activations > 0].float()
    rank = max(1, round(SCALE_QUANTILE * len(positive)))
    return float(positive.kthvalue(rank).values) if len(positive) else 1.0


def quantile_images(order: Tensor) -> list[int]:
    """Return the images at fixed quantiles of activation; ``order`` lists active images, strongest first."""
    count = len(order)
    if count <= TOP_IMAGES:
        return []
    return order[[min(count - 1, int((1 - quantile) * count)) for quantile in QUANTILES]].tolist()


def activation_histogram(values: Tensor, scale: float) -> list[int]:
    """Count positive activations in equal bins; values above the scale are in the last bin."""
    positive = values[values > 0].clamp_max(scale)
    return torch.histc(positive, HISTOGRAM_BINS, 0, scale).long().tolist() if len(positive) else [0] * HISTOGRAM_BINS


def dominant_labels(strengths: Tensor, labels: Sequence[str]) -> list[tuple[str, float]]:
    """Return each latent's most frequent label among its strongest images, with its share."""
    classes, names = index_labels(labels)
    purity = latent_purity(strengths, classes, LABELLED_IMAGES)
    return [(names[label], share) for label, share in zip(purity.label.tolist(), purity.purity.tolist(), strict=True)]


def nearest_words(words: Sequence[str], similarity: Tensor) -> list[list[tuple[str, float]]]:
    """Return each latent's most similar texts with their cosines."""
    best = similarity.topk(min(NEAREST_TEXTS, len(words)), dim=1)
    return [
        [(words[index], value) for index, value in zip(indices, values, strict=True)]
        for indices, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]
