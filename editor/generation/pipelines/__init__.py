"""Load a diffusers pipeline for image generation on the CPU, from folders, single files and split files."""

from pathlib import Path
from typing import Any

import torch

from editor.generation.pipelines.defaults import FamilyDefaults, family_defaults
from editor.generation.pipelines.plan import plan_pipeline

__all__ = ["FamilyDefaults", "check_supported_pipeline", "family_defaults", "load_pipeline"]


def check_supported_pipeline(path: Path, components: Path | None = None) -> None:
    """Check from configurations and headers that :func:`load_pipeline` can load a model. Raises its errors."""
    plan_pipeline(path, components)


def load_pipeline(path: Path, *, components: Path | None = None, dtype: torch.dtype = torch.float32) -> Any:
    """Load a text-to-image pipeline, without safety checker and progress bar.

    Args:
        path: the base model: a diffusers folder, a single-file checkpoint, or the text encoder files of ComfyUI.
        components: a folder with what the base model lacks: diffusers folders such as ``vae`` and ``tokenizer_2``, or single
            files such as ``ae.safetensors`` and ``t5xxl_fp8_e4m3fn.safetensors``.
        dtype: the dtype of the weights in memory.

    Raises:
        CheckpointError: the model is not a text-to-image pipeline of diffusers, a component is missing, or a file cannot be
            read. Nothing has been loaded if a component is missing.
    """
    return plan_pipeline(path, components).load(dtype)
