"""Generate images at fixed seeds, and cache those of an unedited model."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow

from editor.generation.batch_size import attempt, batch_size_of
from editor.generation.batched_pipeline import BatchedPipeline, is_batchable
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.cpu_optimizations import cpu_fast_path
from editor.generation.denoiser import Conditioning, select_rows
from editor.generation.module_device import upcast_vae
from editor.generation.pipeline_call import call_pipeline
from editor.io.progress import ProgressCallback, SubProgress, no_progress


def generate_images(
    pipeline: Any,
    sampler: Sampler,
    specs: Sequence[ImageSpec],
    progress: ProgressCallback = no_progress,
) -> list[Image]:
    """Generate images in batches, which are halved when the memory does not suffice.

    Each image has its own generator, so the batches do not affect it.

    Raises:
        DeviceError: the memory does not suffice for one image.
    """
    upcast_vae(pipeline)
    images: list[Image] = []
    size = batch_size_of(pipeline)
    if size.memory and specs:
        images += size.fit(lambda: generate_batch(pipeline, sampler, specs[:1], no_progress))
    while len(images) < len(specs):
        batch = specs[len(images) : len(images) + size.images]
        part = SubProgress(progress, len(images) / len(specs), len(batch) / len(specs))
        generated = attempt(partial(generate_batch, pipeline, sampler, batch, part))
        if generated is None:
            size.halve(len(batch))
        images += generated or []
    return images


def generate_batch(
    pipeline: Any, sampler: Sampler, specs: Sequence[ImageSpec], progress: ProgressCallback
) -> list[Image]:
    """Generate one batch: the images of the pipeline's own call, or the same ones without its duplicated computation."""
    prompts, seeds = [spec.prompt for spec in specs], [spec.seed for spec in specs]
    if not is_batchable(pipeline, sampler):
        return call_pipeline(pipeline, sampler, {"prompt": prompts}, seeds, progress)
    batched = BatchedPipeline(pipeline, sampler)
    with cpu_fast_path(batched.denoiser.backbone):
        return batched.generate(encode_distinct_prompts(batched, prompts), seeds, progress=progress)


@torch.no_grad()
def encode_distinct_prompts(batched: BatchedPipeline, prompts: Sequence[str]) -> Conditioning:
    """Return the conditioning of prompts, one row each; equal prompts are encoded once."""
    distinct = list(dict.fromkeys(prompts))
    encoded = batched.encode_prompts(distinct)
    return select_rows(encoded, [distinct.index(prompt) for prompt in prompts])


@dataclass(frozen=True)
class ImageCache:
    """PNG files keyed by a digest of model, prompt, seed and sampler, so that a base model's images are generated once."""

    folder: Path
    model_digest: str

    def path(self, sampler: Sampler, spec: ImageSpec) -> Path:
        """Return the file of an image. Prompts may name people, so file names are digests."""
        key = json.dumps([self.model_digest, asdict(spec), asdict(sampler)], sort_keys=True)
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.png"

    def generate(
        self,
        pipeline: Any,
        sampler: Sampler,
        specs: Sequence[ImageSpec],
        progress: ProgressCallback = no_progress,
    ) -> list[Image]:
        """Return the cached images; generate and cache the missing ones."""
        paths = [self.path(sampler, spec) for spec in specs]
        missing = [(path, spec) for path, spec in zip(paths, specs, strict=True) if not path.exists()]
        generated = generate_images(pipeline, sampler, [spec for _, spec in missing], progress) if missing else []
        for (path, _), image in zip(missing, generated, strict=True):
            write_png(path, image)
        progress(1.0)
        return [np.asarray(Pillow.open(path).convert("RGB")) for path in paths]


def write_png(path: Path, image: Image) -> None:
    """Write a PNG file atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    Pillow.fromarray(image).save(partial, format="PNG")
    partial.replace(path)
