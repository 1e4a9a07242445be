"""A base model on disk: its family and its text encoders."""

from dataclasses import dataclass
from pathlib import Path

from editor.checkpoints.key_mapping import Family
from editor.checkpoints.text_encoder import TextEncoder
from editor.checkpoints.unedited_encoders import UneditedEncoder
from editor.errors import CheckpointError


@dataclass(frozen=True)
class Checkpoint:
    """A base model whose headers were checked. Its tensors stay on disk until they are read."""

    path: Path
    family: Family
    encoders: tuple[TextEncoder, ...]
    """The CLIP text encoders, in the order of the pipeline."""
    unedited_encoders: tuple[UneditedEncoder, ...] = ()

    def encoder(self, component: str) -> TextEncoder:
        """Return the text encoder of a component. Raises CheckpointError if the model does not have it."""
        for encoder in self.encoders:
            if encoder.component == component:
                return encoder
        raise CheckpointError(
            f"{self.path} has no {component}.", field="model", remedy="Use a model that includes this text encoder."
        )
