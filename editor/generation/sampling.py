"""Generate images at fixed seeds, and cache those of an unedited model."""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

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

ImageObserver = Callable[[Sequence[ImageSpec], Sequence[Image]], object]
"""Called with the images that a cache has, and with each batch of generated ones. May raise to cancel the work."""
PARALLEL_TRANSFERS = 8
"""Images that are fetched from a shared cache at once."""


def ignore_images(specs: Sequence[ImageSpec], images: Sequence[Image]) -> None:
    """Observe nothing."""


def generate_images(
    pipeline: Any,
    sampler: Sampler,
    specs: Sequence[ImageSpec],
    progress: ProgressCallback = no_progress,
    observe: ImageObserver = ignore_images,
) -> list[Image]:
    """Generate images in batches, which are halved when the memory does not suffice.

    Each image has its own generator, so the batches do not affect it.

    Raises:
        DeviceError: the memory does not suffice for one image.
    """
    upcast_vae(pipeline)
    images: list[Image] = []
    size = batch_size_of(pipeline)
    while len(images) < len(specs):
        batch = specs[len(images) : len(images) + (1 if size.memory else size.images)]
        part = SubProgress(progress, len(images) / len(specs), len(batch) / len(specs))
        run = partial(generate_batch, pipeline, sampler, batch, part)
        generated = attempt(partial(size.fit, run) if size.memory else run)
        if generated is None:
            size.halve(len(batch))
            continue
        images += generated
        observe(batch, generated)
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


class SharedCache(Protocol):
    """Content that several machines share, by key. It may lose content, and it never raises: a miss costs time only."""

    def get(self, key: str) -> bytes | None:
        """Return the content of a key, or None."""

    def put(self, key: str, content: bytes) -> None:
        """Store the content of a key. The same key always has equivalent content."""


@dataclass(frozen=True)
class ImageCache:
    """PNG files keyed by a digest of model, prompt, seed and sampler, so that a base model's images are generated once."""

    folder: Path
    model_digest: str
    shared: SharedCache | None = None
    """A second level behind the folder, which workers on other machines fill too."""

    def key(self, sampler: Sampler, spec: ImageSpec) -> str:
        """Return the key of an image. Prompts may name people, so keys are digests."""
        inputs = json.dumps([self.model_digest, asdict(spec), asdict(sampler)], sort_keys=True)
        return hashlib.sha256(inputs.encode()).hexdigest()

    def path(self, key: str) -> Path:
        """Return the file of an image."""
        return self.folder / key[:2] / f"{key}.png"

    def generate(
        self,
        pipeline: Any,
        sampler: Sampler,
        specs: Sequence[ImageSpec],
        progress: ProgressCallback = no_progress,
        observe: ImageObserver = ignore_images,
    ) -> list[Image]:
        """Return the cached images, which are observed first; generate and cache the missing ones."""
        keys = {spec: self.key(sampler, spec) for spec in specs}
        self._fetch([key for key in keys.values() if not self.path(key).exists()])
        found = {spec: self._load(key) for spec, key in keys.items() if self.path(key).exists()}
        if found:
            observe(list(found), list(found.values()))
        new = [spec for spec in keys if spec not in found]
        generated = generate_images(pipeline, sampler, new, progress, observe) if new else []
        for spec, image in zip(new, generated, strict=True):
            self._store(keys[spec], encode_png(image))
            found[spec] = image
        progress(1.0)
        return [found[spec] for spec in specs]

    def _load(self, key: str) -> Image:
        return np.asarray(Pillow.open(self.path(key)).convert("RGB"))

    def _fetch(self, keys: Sequence[str]) -> None:
        """Copy shared images into the folder. Damaged ones count as missing."""
        if self.shared is None or not keys:
            return
        with ThreadPoolExecutor(PARALLEL_TRANSFERS) as pool:
            for key, content in zip(keys, pool.map(self.shared.get, keys), strict=True):
                if content is not None and is_intact_png(content):
                    _write(self.path(key), content)

    def _store(self, key: str, content: bytes) -> None:
        _write(self.path(key), content)
        if self.shared is not None:
            self.shared.put(key, content)


def encode_png(image: Image) -> bytes:
    """Return an image as PNG."""
    buffer = BytesIO()
    Pillow.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def is_intact_png(content: bytes) -> bool:
    """Return whether the content is a complete PNG; its checksums are verified."""
    try:
        Pillow.open(BytesIO(content), formats=["PNG"]).load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically. It is not synced to the disk, because it can be computed again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)
