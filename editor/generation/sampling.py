"""Images at fixed seeds, and a cache of those of the unedited model."""

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

from editor.checkpoints.key_mapping import PREFIX
from editor.errors import CheckpointError
from editor.generation.batched_pipeline import BatchedPipeline
from editor.generation.config import Image, ImageSpec, Sampler
from editor.generation.cpu_optimizations import cpu_fast_path
from editor.generation.denoiser import Conditioning, select_rows
from editor.io.progress import ProgressCallback, SubProgress, no_progress
from editor.methods.tensor_update import TensorUpdate

SUPPORTED_PIPELINE = "StableDiffusionPipeline"
BATCH_SIZE = 32
"""Images that are sampled at once."""


def check_supported_pipeline(model_dir: Path) -> None:
    """Raises CheckpointError: this is no folder of a pipeline that is drawn with here."""
    index = model_dir / "model_index.json"
    kind = json.loads(index.read_bytes()).get("_class_name") if index.is_file() else None
    if kind != SUPPORTED_PIPELINE:
        raise CheckpointError(
            f"Images are drawn with folders of diffusers' {SUPPORTED_PIPELINE}; {model_dir.name} is "
            + (f"one of {kind}." if kind else "none."),
            field="validation.enabled",
            remedy="Give such a folder of the same model, or edit without validation.",
        )


def load_pipeline(model_dir: Path) -> Any:
    """The model as a plain diffusers pipeline in float32, quiet."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        model_dir,
        use_safetensors=True,
        torch_dtype=torch.float32,
        safety_checker=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def apply_updates(pipeline: Any, updates: Sequence[TensorUpdate]) -> None:
    """Overwrite the pipeline's tensors with the edited ones."""
    for update in updates:
        set_encoder_tensor(pipeline, update, update.edited)


def revert_updates(pipeline: Any, updates: Sequence[TensorUpdate]) -> None:
    """Put the original tensors back."""
    for update in updates:
        set_encoder_tensor(pipeline, update, update.base)


def set_encoder_tensor(pipeline: Any, update: TensorUpdate, tensor: Tensor) -> None:
    """Overwrite the tensor of the pipeline's text encoder that an update is about."""
    component = getattr(pipeline, update.component)
    encoder = getattr(component, "text_model", component)
    with torch.no_grad():
        encoder.get_parameter(update.name.removeprefix(PREFIX)).copy_(tensor)


def generate_images(
    pipeline: Any,
    sampler: Sampler,
    shots: Sequence[ImageSpec],
    tick: ProgressCallback = no_progress,
) -> list[Image]:
    """Draw images in batches. Each has its own generator, so a batch's composition does not matter."""
    images: list[Image] = []
    for start in range(0, len(shots), BATCH_SIZE):
        part = shots[start : start + BATCH_SIZE]
        images += generate_batch(
            pipeline,
            sampler,
            part,
            SubProgress(tick, start / len(shots), len(part) / len(shots)),
        )
    return images


def generate_batch(pipeline: Any, sampler: Sampler, shots: Sequence[ImageSpec], tick: ProgressCallback) -> list[Image]:
    """One batch: what `pipeline(...)` draws, without what it computes twice."""
    painter, seeds = BatchedPipeline(pipeline, sampler), [shot.seed for shot in shots]
    with cpu_fast_path(painter.denoiser.backbone):
        return painter.generate(encode_distinct_prompts(painter, [shot.prompt for shot in shots]), seeds, tick=tick)


@torch.no_grad()
def encode_distinct_prompts(painter: BatchedPipeline, prompts: Sequence[str]) -> Conditioning:
    """What the UNet is given for prompts; each distinct one is encoded once."""
    distinct = list(dict.fromkeys(prompts))
    encoded = painter.encode_prompts(distinct)
    return select_rows(encoded, [distinct.index(prompt) for prompt in prompts])


@dataclass(frozen=True)
class ImageCache:
    """PNG files by the digest of (model, prompt, seed, sampler): a second job on a base draws only its after half."""

    folder: Path
    model_digest: str

    def path(self, sampler: Sampler, shot: ImageSpec) -> Path:
        """Where an image lies. Prompts may name people, so names are digests."""
        key = json.dumps([self.model_digest, asdict(shot), asdict(sampler)], sort_keys=True)
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.png"

    def generate(
        self,
        pipeline: Any,
        sampler: Sampler,
        shots: Sequence[ImageSpec],
        tick: ProgressCallback = no_progress,
    ) -> list[Image]:
        """Read what is there, draw and keep what is missing."""
        paths = [self.path(sampler, shot) for shot in shots]
        missing = [(path, shot) for path, shot in zip(paths, shots, strict=True) if not path.exists()]
        drawn = generate_images(pipeline, sampler, [shot for _, shot in missing], tick) if missing else []
        for (path, _), image in zip(missing, drawn, strict=True):
            write_png(path, image)
        tick(1.0)
        return [np.asarray(Pillow.open(path).convert("RGB")) for path in paths]


def write_png(path: Path, image: Image) -> None:
    """Write a PNG so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    Pillow.fromarray(image).save(partial, format="PNG")
    partial.replace(path)
