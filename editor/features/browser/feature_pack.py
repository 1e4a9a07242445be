"""The features of an autoencoder as an index and packed images, for a browser that cannot compute them.

Unlike the browser page, it keeps no activations in memory: images are encoded twice, once to rank them for each latent and once
for the heat maps of the images that were chosen.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image as Pillow
from torch import Tensor

from api_schemas.features import (
    FEATURE_IMAGES,
    FEATURES_FILE,
    Feature,
    FeatureImages,
    FeatureIndex,
    FeatureLabel,
)
from api_schemas.packed_images import PackedImage
from editor.features.browser.latent_cards import (
    LABELLED_IMAGES,
    TOP_IMAGES,
    BrowserInput,
    ChosenImages,
    choose_images,
    color_scale_maximum,
    dominant_labels,
    encode_batches,
    rank_images,
)
from editor.io.atomic import write_bytes
from editor.io.image_pack import ImagePack, encode_webp
from editor.prompts.concepts import ConceptKind

THUMBNAIL_SIDE = 160
MAX_MAP_SIDE = 16
"""Larger heat maps are pooled to this side."""
MAX_PACK_BYTES = 32_000_000
"""Features whose heat maps do not fit are packed without them."""
GROUPS = 3
"""Groups of images, each of up to `TOP_IMAGES`."""
HEAT_COLOR = (255, 48, 0)
MAX_ALPHA = 0.8
"""Opacity of the strongest activations, through which the image is still seen."""


@dataclass(frozen=True)
class FeaturePlace:
    """What an autoencoder is read for, and where."""

    kind: ConceptKind
    module: str
    timestep: int


@dataclass(frozen=True)
class FeaturePack:
    """The index and the ZIP file with the images."""

    index: FeatureIndex
    images: bytes

    def write(self, folder: Path) -> None:
        """Write both files, the index last."""
        write_bytes(folder / FEATURE_IMAGES, self.images)
        write_bytes(folder / FEATURES_FILE, self.index.model_dump_json().encode())


@dataclass(frozen=True)
class Strengths:
    """How strongly latents respond to images."""

    by_image: Tensor
    """``(items, latents)``: maximum over positions."""
    density: Tensor
    """``(latents,)``: share of positions at which each is active."""


@torch.no_grad()
def pack_features(
    source: BrowserInput, place: FeaturePlace, concepts: Mapping[str, Sequence[int]], seed: int = 0
) -> FeaturePack:
    """Pack the features of an autoencoder.

    Args:
        concepts: the latents that detect each concept.
        seed: of the random images.
    """
    strengths = measure_strengths(source)
    scale = color_scale_maximum(strengths.by_image)
    generator = torch.Generator().manual_seed(seed)
    ranked = {latent: rank_images(strengths.by_image[:, latent]) for latent in range(source.sae.latents)}
    chosen = {latent: choose_images(order, generator) for latent, order in ranked.items() if len(order)}
    pack = ImagePack()
    files = [pack.add(image_name(item), encode_webp(source.images[item], THUMBNAIL_SIDE)) for item in used(chosen)]
    heat = pack_heatmaps(pack, read_heatmaps(source, chosen, scale))
    labels = {kind: dominant_labels(strengths.by_image, values) for kind, values in source.labels.items()}

    def feature(latent: int, images: ChosenImages) -> Feature:
        active = len(ranked[latent])
        top, quantiles, random = (describe_images(source, strengths, latent, group) for group in images.groups)
        return Feature(
            latent=latent,
            density=round(float(strengths.density[latent]), 6),
            image_share=round(active / len(source.images), 4),
            labels=read_labels(labels, latent) if active >= LABELLED_IMAGES else [],
            concepts=[name for name, latents in concepts.items() if latent in latents],
            top=top,
            quantiles=quantiles,
            random=random,
            heatmap=heat[latent].name if latent in heat else None,
        )

    index = FeatureIndex(
        **vars(place),
        latents=source.sae.latents,
        active=source.sae.k,
        image_count=len(source.images),
        scale=round(scale, 4),
        features=[feature(latent, images) for latent, images in chosen.items()],
        files=[*files, *heat.values()],
    )
    return FeaturePack(index, pack.finish())


def measure_strengths(source: BrowserInput) -> Strengths:
    """Encode all images, and return how strongly each latent responds to each."""
    maxima, active, positions = [], torch.zeros(source.sae.latents, dtype=torch.float64), 0
    for _, codes in encode_batches(source):
        maxima.append(codes.amax(1).float())
        active += (codes > 0).sum((0, 1))
        positions += codes.shape[0] * codes.shape[1]
    return Strengths(torch.cat(maxima), active / positions)


def read_heatmaps(source: BrowserInput, chosen: Mapping[int, ChosenImages], scale: float) -> dict[int, Tensor]:
    """Return ``(groups, images, height, width)`` shares of the color scale for each latent, 0 where there is no image."""
    size = [min(MAX_MAP_SIDE, side) for side in source.grid]
    maps = {latent: torch.zeros(GROUPS, TOP_IMAGES, *size, dtype=torch.float16) for latent in chosen}
    wanted: dict[int, list[tuple[int, int, int]]] = {}
    for latent, images in chosen.items():
        for row, group in enumerate(images.groups):
            for column, item in enumerate(group):
                wanted.setdefault(item, []).append((latent, row, column))
    for items, codes in encode_batches(source):
        for item, code in zip(items, codes, strict=True):
            if places := wanted.get(item):
                own = code[:, [latent for latent, _, _ in places]].T.reshape(len(places), *source.grid)
                for (latent, row, column), values in zip(places, F.adaptive_max_pool2d(own, size), strict=True):
                    maps[latent][row, column] = (values / scale).clamp(0, 1)
    return maps


def pack_heatmaps(pack: ImagePack, maps: Mapping[int, Tensor]) -> dict[int, PackedImage]:
    """Pack the heat maps of each latent as one image, as long as there is room."""
    return {
        latent: pack.add(f"heat-{latent}.png", encode_heatmaps(shares))
        for latent, shares in maps.items()
        if pack.size < MAX_PACK_BYTES
    }


def encode_heatmaps(shares: Tensor) -> bytes:
    """Return ``(rows, columns, height, width)`` shares as a PNG that is the more opaque, the larger they are."""
    rows, columns, height, width = shares.shape
    alpha = (shares.float().permute(0, 2, 1, 3).reshape(rows * height, columns * width) * MAX_ALPHA * 255).ceil()
    pixels = np.full((*alpha.shape, 4), (*HEAT_COLOR, 0), dtype=np.uint8)
    pixels[..., 3] = alpha.numpy()
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def describe_images(source: BrowserInput, strengths: Strengths, latent: int, items: Sequence[int]) -> FeatureImages:
    """Return some images of a latent as they are published."""
    return FeatureImages(
        names=[image_name(item) for item in items],
        activations=[round(float(strengths.by_image[item, latent]), 3) for item in items],
        captions=[source.caption(item) for item in items],
    )


def read_labels(labels: Mapping[str, Sequence[tuple[str, float]]], latent: int) -> list[FeatureLabel]:
    """Return the most frequent label of each kind, the purest first."""
    found = [(kind, *values[latent]) for kind, values in labels.items()]
    return [
        FeatureLabel.model_validate({"kind": kind, "name": name, "share": round(share, 2)})
        for kind, name, share in sorted(found, key=lambda label: -label[2])
    ]


def used(chosen: Mapping[int, ChosenImages]) -> list[int]:
    """Return the items that any latent has chosen."""
    return sorted({item for images in chosen.values() for group in images.groups for item in group})


def image_name(item: int) -> str:
    """Return the name of an image in the pack."""
    return f"{item:04d}.webp"
