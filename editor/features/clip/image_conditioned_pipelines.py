"""Pipelines that generate images from image embeddings: Stable Diffusion with an IP-Adapter, and Kandinsky 2.2's decoder."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from editor.errors import FeatureError
from editor.generation.batch_size import MAX_IMAGES
from editor.generation.config import Image, Sampler
from editor.generation.module_device import autocast, denoiser_of
from editor.generation.pipeline_call import to_uint8
from editor.io.progress import ProgressCallback, no_progress


class ImageConditionedPipeline(Protocol):
    """Generates images from image embeddings."""

    @property
    def width(self) -> int:
        """Width of the embeddings."""

    def generate(self, embeddings: Tensor, seeds: Sequence[int], sampler: Sampler) -> list[Image]:
        """Generate one image per row of ``(n, width)``, each with its own seed."""


@dataclass(frozen=True)
class IPAdapterPipeline:
    """Stable Diffusion 1.x, 2.x or XL with one IP-Adapter for pooled embeddings."""

    pipeline: Any
    prompt: str = ""
    """Text prompt of every image, in addition to its embedding."""

    @property
    def width(self) -> int:
        """Input width of the adapter's projection."""
        return int(self.pipeline.unet.encoder_hid_proj.image_projection_layers[0].image_embeds.in_features)

    def generate(self, embeddings: Tensor, seeds: Sequence[int], sampler: Sampler) -> list[Image]:
        """Generate with the zero embedding as unconditional input, as diffusers does."""
        conditional = embeddings[:, None].to(self.pipeline.unet.device, self.pipeline.unet.dtype)
        both = [torch.zeros_like(conditional), conditional] if sampler.guidance > 1 else [conditional]
        image_embeds = [torch.cat(both)]
        with per_image_embeddings(self.pipeline, image_embeds):
            arguments = {"prompt": [self.prompt] * len(seeds), "ip_adapter_image_embeds": image_embeds}
            return call_pipeline(self.pipeline, arguments, seeds, sampler)


@contextmanager
def per_image_embeddings(pipeline: Any, embeddings: list[Tensor]) -> Iterator[None]:
    """Give each image of a batch its own embedding while the context is active.

    diffusers repeats the embeddings that it is given for every image of the batch, so each image would see all of them.
    """
    pipeline.prepare_ip_adapter_image_embeds = lambda *_, **__: embeddings
    try:
        yield
    finally:
        del pipeline.prepare_ip_adapter_image_embeds


@dataclass(frozen=True)
class KandinskyDecoder:
    """The decoder of Kandinsky 2.2, which is conditioned on the image embedding only."""

    pipeline: Any
    negative_embedding: Tensor
    """``(width,)``: the embedding of an all-zero image, as the prior's ``get_zero_embed`` computes it."""

    @property
    def width(self) -> int:
        """Width of the embeddings that the denoiser projects."""
        return int(self.pipeline.unet.config.encoder_hid_dim)

    def generate(self, embeddings: Tensor, seeds: Sequence[int], sampler: Sampler) -> list[Image]:
        """Generate at the native size of the denoiser."""
        unet = self.pipeline.unet
        side = unet.config.sample_size * self.pipeline.movq_scale_factor
        image_embeds = embeddings.to(unet.device, unet.dtype)
        arguments = {
            "image_embeds": image_embeds,
            "negative_image_embeds": self.negative_embedding.to(image_embeds).expand_as(image_embeds),
            "height": side,
            "width": side,
        }
        return call_pipeline(self.pipeline, arguments, seeds, sampler)


def call_pipeline(pipeline: Any, arguments: dict[str, Any], seeds: Sequence[int], sampler: Sampler) -> list[Image]:
    """Run a diffusers pipeline and return its images as uint8."""
    with autocast(denoiser_of(pipeline), sampler.precision):
        output = pipeline(
            **arguments,
            num_inference_steps=sampler.steps,
            guidance_scale=sampler.guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="np",
        )
    return to_uint8(output.images)


def image_conditioned_pipeline(pipeline: Any, negative: Tensor | None = None) -> ImageConditionedPipeline:
    """Wrap a loaded pipeline that generates from image embeddings.

    Raises:
        FeatureError: the pipeline has no such input, or an adapter that reads image patches instead of the embedding.
    """
    if hasattr(pipeline, "movq") and negative is not None:
        return KandinskyDecoder(pipeline, negative)
    layers = getattr(getattr(pipeline.unet, "encoder_hid_proj", None), "image_projection_layers", [])
    if len(layers) == 1 and hasattr(layers[0], "image_embeds"):
        return IPAdapterPipeline(pipeline)
    raise FeatureError(
        "This pipeline cannot generate from image embeddings.",
        field="model",
        remedy="Load an IP-Adapter for pooled embeddings (not a plus or face adapter), or Kandinsky 2.2's decoder with its "
        "negative embedding.",
    )


def generate_from_embeddings(
    model: ImageConditionedPipeline,
    sampler: Sampler,
    embeddings: Tensor,
    seeds: Sequence[int],
    progress: ProgressCallback = no_progress,
) -> list[Image]:
    """Generate one image per row of ``(n, width)``. An image does not depend on the others of its batch.

    Raises:
        FeatureError: the width of the embeddings is not that of the pipeline.
    """
    if embeddings.shape[1] != model.width:
        raise FeatureError(
            f"The embeddings have width {embeddings.shape[1]}; the pipeline expects {model.width}.",
            field="clip",
            remedy="Use the CLIP model whose embeddings the pipeline was trained on.",
        )
    images: list[Image] = []
    for start in range(0, len(seeds), MAX_IMAGES):
        part = slice(start, start + MAX_IMAGES)
        images += model.generate(embeddings[part], seeds[part], sampler)
        progress(len(images) / len(seeds))
    return images
