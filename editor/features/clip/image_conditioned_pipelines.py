"""Pipelines that draw what an image embedding says: Stable Diffusion with an IP-Adapter, and Kandinsky 2.2's decoder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.generation.config import Image, Sampler
from editor.generation.sampling import BATCH_SIZE
from editor.io.progress import ProgressCallback, no_progress


class ImageConditionedPipeline(Protocol):
    """Draws from image embeddings alone."""

    @property
    def width(self) -> int:
        """Of the embeddings."""

    def generate(self, embeddings: Tensor, seeds: Sequence[int], sampler: Sampler) -> list[Image]:
        """One picture for each row of ``(n, width)``, each with a seed of its own."""


@dataclass(frozen=True)
class IPAdapterPipeline:
    """Stable Diffusion 1.x, 2.x or XL with one IP-Adapter that reads pooled embeddings."""

    pipeline: Any
    prompt: str = ""
    """Said of every picture, beside its embedding."""

    @property
    def width(self) -> int:
        """What the adapter's projection takes."""
        return int(self.pipeline.unet.encoder_hid_proj.image_projection_layers[0].image_embeds.in_features)

    def generate(self, embeddings: Tensor, seeds: Sequence[int], sampler: Sampler) -> list[Image]:
        """Guided away from the zero embedding, as diffusers guides."""
        images = embeddings[:, None].to(self.pipeline.unet.device, self.pipeline.unet.dtype)
        guided = [torch.zeros_like(images), images] if sampler.guidance > 1 else [images]
        each = [torch.cat(guided)]
        with per_image_embeddings(self.pipeline, each):
            given = {"prompt": [self.prompt] * len(seeds), "ip_adapter_image_embeds": each}
            return call_pipeline(self.pipeline, given, seeds, sampler)


@contextmanager
def per_image_embeddings(pipeline: Any, embeddings: list[Tensor]) -> Iterator[None]:
    """Within, each picture of a batch has its own embedding.

    diffusers repeats what it is given for every picture of the batch, so that all of them would see all embeddings.
    """
    pipeline.prepare_ip_adapter_image_embeds = lambda *_, **__: embeddings
    try:
        yield
    finally:
        del pipeline.prepare_ip_adapter_image_embeds


@dataclass(frozen=True)
class KandinskyDecoder:
    """The decoder of Kandinsky 2.2, whose only condition is the image embedding."""

    pipeline: Any
    negative_embedding: Tensor
    """``(width,)``: the embedding of an image of zeros, as the prior's ``get_zero_embed`` makes it."""

    @property
    def width(self) -> int:
        """What the denoiser projects."""
        return int(self.pipeline.unet.config.encoder_hid_dim)

    def generate(self, embeddings: Tensor, seeds: Sequence[int], sampler: Sampler) -> list[Image]:
        """At the size that the denoiser was trained on."""
        unet = self.pipeline.unet
        side = unet.config.sample_size * self.pipeline.movq_scale_factor
        images = embeddings.to(unet.device, unet.dtype)
        given = {
            "image_embeds": images,
            "negative_image_embeds": self.negative_embedding.to(images).expand_as(images),
            "height": side,
            "width": side,
        }
        return call_pipeline(self.pipeline, given, seeds, sampler)


def call_pipeline(pipeline: Any, given: dict[str, Any], seeds: Sequence[int], sampler: Sampler) -> list[Image]:
    """Run a pipeline of diffusers."""
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=sampler.precision == "bfloat16"):
        output = pipeline(
            **given,
            num_inference_steps=sampler.steps,
            guidance_scale=sampler.guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
        )
    return list((output.images * 255).round().astype(np.uint8))


def image_conditioned_pipeline(pipeline: Any, negative: Tensor | None = None) -> ImageConditionedPipeline:
    """The way to draw from embeddings that a loaded pipeline has.

    Raises:
        FeatureError: it has none, or one that reads patches of a picture in place of its embedding.
    """
    if hasattr(pipeline, "movq") and negative is not None:
        return KandinskyDecoder(pipeline, negative)
    layers = getattr(getattr(pipeline.unet, "encoder_hid_proj", None), "image_projection_layers", [])
    if len(layers) == 1 and hasattr(layers[0], "image_embeds"):
        return IPAdapterPipeline(pipeline)
    raise FeatureError(
        "This pipeline draws from no image embedding.",
        field="model",
        remedy="Load an IP-Adapter that reads pooled embeddings (not a plus or a face one), or Kandinsky 2.2's decoder "
        "with its negative embedding.",
    )


def generate_from_embeddings(
    model: ImageConditionedPipeline,
    sampler: Sampler,
    embeddings: Tensor,
    seeds: Sequence[int],
    tick: ProgressCallback = no_progress,
) -> list[Image]:
    """One picture for each row of ``(n, width)``; what a batch holds besides does not matter.

    Raises:
        FeatureError: the embeddings are of another width.
    """
    if embeddings.shape[1] != model.width:
        raise FeatureError(
            f"Embeddings are {embeddings.shape[1]} wide; the pipeline takes {model.width}.",
            field="clip",
            remedy="Use the CLIP whose embeddings the pipeline was trained on.",
        )
    images: list[Image] = []
    for start in range(0, len(seeds), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        images += model.generate(embeddings[part], seeds[part], sampler)
        tick(len(images) / len(seeds))
    return images
