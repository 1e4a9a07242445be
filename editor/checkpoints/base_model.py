"""Open a base model whatever its layout: headers are read and checked, tensors stay on disk."""

from dataclasses import dataclass
from pathlib import Path

from editor.checkpoints.key_mapping import Family
from editor.checkpoints.text_encoder import TextEncoder
from editor.checkpoints.unedited_encoders import UneditedEncoder
from editor.errors import CheckpointError


@dataclass(frozen=True)
class Checkpoint:
    """A base model."""

    path: Path
    family: Family
    encoders: tuple[TextEncoder, ...]
    """The CLIP encoders, in the order of the pipeline."""
    unedited_encoders: tuple[UneditedEncoder, ...] = ()

    def encoder(self, component: str) -> TextEncoder:
        """The encoder of a component. Raises CheckpointError: there is none."""
        for encoder in self.encoders:
            if encoder.component == component:
                return encoder
        raise CheckpointError(f"{self.path} has no {component}.", field="model")
