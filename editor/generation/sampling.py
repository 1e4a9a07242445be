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
from editor.generation.batched_pipeline import Painter
from editor.generation.config import Image
from editor.generation.config import Precision as Precision
from editor.generation.config import Sampler as Sampler
from editor.generation.config import Shot as Shot
from editor.generation.config import Stretch as Stretch
from editor.generation.config import Tick as Tick
from editor.generation.config import native_precision as native_precision
from editor.generation.cpu_optimizations import lean
from editor.generation.denoiser import Condition, rows_of
from editor.solver.low_rank_update import TensorUpdate

DRAWN = "StableDiffusionPipeline"
BATCH = 32
"""Images that are sampled at once."""


def check_drawable(model_dir: Path) -> None:
    """Raises CheckpointError: this is no folder of a pipeline that is drawn with here."""
    index = model_dir / "model_index.json"
    kind = json.loads(index.read_bytes()).get("_class_name") if index.is_file() else None
    if kind != DRAWN:
        raise CheckpointError(
            f"Images are drawn with folders of diffusers' {DRAWN}; {model_dir.name} is "
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


def put_edited(pipeline: Any, updates: Sequence[TensorUpdate]) -> None:
    """Overwrite the pipeline's tensors with the edited ones."""
    for update in updates:
        put_tensor(pipeline, update, update.edited)


def put_base(pipeline: Any, updates: Sequence[TensorUpdate]) -> None:
    """Put the original tensors back."""
    for update in updates:
        put_tensor(pipeline, update, update.base)


def put_tensor(pipeline: Any, update: TensorUpdate, tensor: Tensor) -> None:
    """Overwrite the tensor of the pipeline's text encoder that an update is about."""
    component = getattr(pipeline, update.component)
    encoder = getattr(component, "text_model", component)
    with torch.no_grad():
        encoder.get_parameter(update.name.removeprefix(PREFIX)).copy_(tensor)


def draw(
    pipeline: Any,
    sampler: Sampler,
    shots: Sequence[Shot],
    tick: Tick = lambda done: None,
) -> list[Image]:
    """Draw images in batches. Each has its own generator, so a batch's composition does not matter."""
    images: list[Image] = []
    for start in range(0, len(shots), BATCH):
        part = shots[start : start + BATCH]
        images += draw_batch(
            pipeline,
            sampler,
            part,
            Stretch(tick, start / len(shots), len(part) / len(shots)),
        )
    return images


def draw_batch(pipeline: Any, sampler: Sampler, shots: Sequence[Shot], tick: Tick) -> list[Image]:
    """One batch: what `pipeline(...)` draws, without what it computes twice."""
    painter, seeds = Painter(pipeline, sampler), [shot.seed for shot in shots]
    with lean(painter.denoiser.backbone):
        return painter.draw(conditions(painter, [shot.prompt for shot in shots]), seeds, tick=tick)


@torch.no_grad()
def conditions(painter: Painter, prompts: Sequence[str]) -> Condition:
    """What the UNet is given for prompts; each distinct one is encoded once."""
    distinct = list(dict.fromkeys(prompts))
    encoded = painter.encoded(distinct)
    return rows_of(encoded, [distinct.index(prompt) for prompt in prompts])


@dataclass(frozen=True)
class ImageCache:
    """PNG files by the digest of (model, prompt, seed, sampler): a second job on a base draws only its after half."""

    folder: Path
    model_digest: str

    def path(self, sampler: Sampler, shot: Shot) -> Path:
        """Where an image lies. Prompts may name people, so names are digests."""
        key = json.dumps([self.model_digest, asdict(shot), asdict(sampler)], sort_keys=True)
        name = hashlib.sha256(key.encode()).hexdigest()
        return self.folder / name[:2] / f"{name}.png"

    def draw(
        self,
        pipeline: Any,
        sampler: Sampler,
        shots: Sequence[Shot],
        tick: Tick = lambda done: None,
    ) -> list[Image]:
        """Read what is there, draw and keep what is missing."""
        paths = [self.path(sampler, shot) for shot in shots]
        missing = [(path, shot) for path, shot in zip(paths, shots, strict=True) if not path.exists()]
        drawn = draw(pipeline, sampler, [shot for _, shot in missing], tick) if missing else []
        for (path, _), image in zip(missing, drawn, strict=True):
            keep(path, image)
        tick(1.0)
        return [np.asarray(Pillow.open(path).convert("RGB")) for path in paths]


def keep(path: Path, image: Image) -> None:
    """Write a PNG so that a reader sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    Pillow.fromarray(image).save(partial, format="PNG")
    partial.replace(path)
