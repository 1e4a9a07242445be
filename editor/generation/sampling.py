"""Generate images at fixed seeds, and cache those of an unedited model."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor

from editor.checkpoints.key_mapping import CANONICAL_PREFIX
from editor.checkpoints.tensor_update import TensorUpdate
from editor.generation.batched_pipeline import BatchedPipeline
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.cpu_optimizations import cpu_fast_path
from editor.generation.denoiser import Conditioning, select_rows
from editor.io.progress import ProgressCallback, SubProgress, no_progress

BATCH_SIZE = 32
"""Images in one batch."""


def apply_updates(pipeline: Any, updates: Sequence[TensorUpdate]) -> None:
    """Overwrite the pipeline's tensors with the edited ones."""
    for update in updates:
        set_encoder_tensor(pipeline, update, update.edited)


def revert_updates(pipeline: Any, updates: Sequence[TensorUpdate]) -> None:
    """Restore the pipeline's original tensors."""
    for update in updates:
        set_encoder_tensor(pipeline, update, update.base)


def set_encoder_tensor(pipeline: Any, update: TensorUpdate, tensor: Tensor) -> None:
    """Overwrite the text encoder tensor that an update belongs to."""
    component = getattr(pipeline, update.component)
    encoder = getattr(component, "text_model", component)
    with torch.no_grad():
        encoder.get_parameter(update.name.removeprefix(CANONICAL_PREFIX)).copy_(tensor)


def generate_images(
    pipeline: Any,
    sampler: Sampler,
    specs: Sequence[ImageSpec],
    progress: ProgressCallback = no_progress,
) -> list[Image]:
    """Generate images in batches. Each image has its own generator, so the batches do not affect it."""
    images: list[Image] = []
    for start in range(0, len(specs), BATCH_SIZE):
        batch = specs[start : start + BATCH_SIZE]
        batch_progress = SubProgress(progress, start / len(specs), len(batch) / len(specs))
        images += generate_batch(pipeline, sampler, batch, batch_progress)
    return images


def generate_batch(
    pipeline: Any, sampler: Sampler, specs: Sequence[ImageSpec], progress: ProgressCallback
) -> list[Image]:
    """Generate one batch: the images of ``pipeline(...)``, without its duplicated computation."""
    batched, seeds = BatchedPipeline(pipeline, sampler), [spec.seed for spec in specs]
    with cpu_fast_path(batched.denoiser.backbone):
        conditioning = encode_distinct_prompts(batched, [spec.prompt for spec in specs])
        return batched.generate(conditioning, seeds, progress=progress)


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
