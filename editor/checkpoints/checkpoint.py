"""Open a base model whatever its layout: headers are read and checked, tensors stay on disk."""

from dataclasses import dataclass
from pathlib import Path

from editor.checkpoints.encoder import TextEncoder
from editor.checkpoints.names import Family
from editor.checkpoints.second_way import SecondWay
from editor.errors import CheckpointError


@dataclass(frozen=True)
class Checkpoint:
    """A base model."""

    path: Path
    family: Family
    encoders: tuple[TextEncoder, ...]
    """The CLIP encoders, in the order of the pipeline."""
    second_ways: tuple[SecondWay, ...] = ()

    def encoder(self, component: str) -> TextEncoder:
        """The encoder of a component. Raises CheckpointError: there is none."""
        for encoder in self.encoders:
            if encoder.component == component:
                return encoder
        raise CheckpointError(f"{self.path} has no {component}.", field="model")


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a diffusers or transformers folder, text-encoder files of ComfyUI, or a single-file checkpoint.

    Raises:
        CheckpointError: there is nothing, a pickle, a layout that we don't know, a header that contradicts its file,
            quantised weights, a link out of the folder, or a configuration that its weights don't fit.
    """
    from editor.checkpoints.folder import open_folder
    from editor.checkpoints.single import open_file

    if path.is_dir():
        return open_folder(path)
    if path.is_file():
        return open_file(path)
    raise CheckpointError(f"{path} is missing.", field="model", remedy="Name a model's folder or its safetensors file.")
