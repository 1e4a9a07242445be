"""Open a base model of any layout: headers are read and checked, tensors stay on disk."""

from pathlib import Path

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.diffusers_layout import open_folder
from editor.checkpoints.single_file import open_file
from editor.errors import CheckpointError


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a diffusers or transformers folder, text-encoder files of ComfyUI, or a single-file checkpoint.

    Raises:
        CheckpointError: the path is missing or holds a pickle, an unknown layout, a header that contradicts its file,
            quantised weights, a link out of the folder, or a configuration that its weights do not fit.
    """
    if path.is_dir():
        return open_folder(path)
    if path.is_file():
        return open_file(path)
    raise CheckpointError(f"{path} is missing.", field="model", remedy="Name a model's folder or its safetensors file.")
