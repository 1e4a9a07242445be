"""Load a diffusers pipeline for image generation, on the CPU."""

import json
from pathlib import Path
from typing import Any

import torch

from editor.errors import CheckpointError

SUPPORTED_PIPELINE = "StableDiffusionPipeline"


def check_supported_pipeline(model_dir: Path) -> None:
    """Check that images can be generated with a model.

    Raises:
        CheckpointError: the model is not a diffusers folder of a supported pipeline.
    """
    index = model_dir / "model_index.json"
    pipeline_class = json.loads(index.read_bytes()).get("_class_name") if index.is_file() else None
    if pipeline_class != SUPPORTED_PIPELINE:
        raise CheckpointError(
            f"Images are generated only with diffusers folders of a {SUPPORTED_PIPELINE}, and {model_dir.name} "
            + (f"is one of {pipeline_class}." if pipeline_class else "is not a pipeline folder."),
            field="validation.enabled",
            remedy=f"Use a {SUPPORTED_PIPELINE} folder of the same model, or turn validation off.",
        )


def load_pipeline(model_dir: Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """Load a ``StableDiffusionPipeline``, without safety checker and progress bar."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        model_dir,
        use_safetensors=True,
        torch_dtype=dtype,
        safety_checker=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
