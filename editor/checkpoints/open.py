"""Open a base model of any supported layout: read and check its headers, and leave the tensors on disk."""

from pathlib import Path

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.diffusers_layout import open_folder
from editor.checkpoints.single_file import open_file
from editor.errors import CheckpointError


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a diffusers or transformers folder, ComfyUI's text encoder files, or a single-file checkpoint.

    Raises:
        CheckpointError: the path does not exist, or the model is a pickle, has an unsupported layout, a damaged header,
            quantised weights, a link that leaves its folder, or a configuration that does not match its weights.
    """
    if path.is_dir():
        return open_folder(path)
    if path.is_file():
        return open_file(path)
    raise CheckpointError(f"{path} does not exist.", field="model", remedy="Pass a model folder or a safetensors file.")
