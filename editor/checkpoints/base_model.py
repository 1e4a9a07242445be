"""A base model on disk: its family and its text encoders."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from editor.checkpoints.denoiser import COMPONENTS as DENOISERS
from editor.checkpoints.denoiser import Denoiser, open_denoiser
from editor.checkpoints.key_mapping import Family
from editor.checkpoints.text_encoder import TextEncoder
from editor.checkpoints.unedited_encoders import UneditedEncoder
from editor.errors import CheckpointError

VARIANTS_PATTERN = "model*.safetensors"
"""Weights of a text encoder in any variant, whole or in shards."""


@dataclass(frozen=True)
class Checkpoint:
    """A base model whose headers were checked. Its tensors stay on disk until they are read."""

    path: Path
    family: Family
    encoders: tuple[TextEncoder, ...]
    """The CLIP text encoders, in the order of the pipeline."""
    unedited_encoders: tuple[UneditedEncoder, ...] = ()
    device: str = "cpu"
    """Where T5 runs, of which an edit needs final states."""

    @property
    def unedited_variants(self) -> tuple[str, ...]:
        """Other weights of the edited text encoders in the same folders, such as ``text_encoder/model.fp16.safetensors``."""
        if self.path.is_file():
            return ()
        edited = {path for encoder in self.encoders for path in encoder.files}
        folders = sorted({path.parent for path in edited})
        others = [path for folder in folders for path in sorted(folder.glob(VARIANTS_PATTERN)) if path not in edited]
        return tuple(path.relative_to(self.path).as_posix() for path in others)

    @cached_property
    def denoiser(self) -> Denoiser | None:
        """The denoiser's tensors that read text; None if the model has no denoiser. Raises CheckpointError: it is damaged."""
        return open_denoiser(self.path, self.family)

    def require_denoiser(self) -> Denoiser:
        """Return the denoiser. Raises CheckpointError if the model has none whose tensors read text."""
        if self.denoiser is None:
            raise CheckpointError(
                f"{self.path} has no denoiser.", field="model", remedy="Use a model that includes its denoiser."
            )
        return self.denoiser

    def component(self, name: str) -> TextEncoder | Denoiser:
        """Return a text encoder, or the denoiser. Raises CheckpointError if the model does not have it."""
        return self.require_denoiser() if name in DENOISERS else self.encoder(name)

    def encoder(self, component: str) -> TextEncoder:
        """Return the text encoder of a component. Raises CheckpointError if the model does not have it."""
        for encoder in self.encoders:
            if encoder.component == component:
                return encoder
        raise CheckpointError(
            f"{self.path} has no {component}.", field="model", remedy="Use a model that includes this text encoder."
        )
