"""The result of an edit: an exact low-rank update of one tensor of a checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from editor.checkpoints import Denoiser, TextEncoder


class EditedTensor(Protocol):
    """An edited tensor of a pipeline component."""

    @property
    def component(self) -> str:
        """The pipeline component that the tensor belongs to, such as ``text_encoder``."""

    @property
    def name(self) -> str:
        """Canonical name: transformers' with the prefix ``text_model.``, or diffusers'."""

    @property
    def edited(self) -> Tensor:
        """The edited tensor."""


@dataclass(frozen=True)
class TensorUpdate:
    """``edited = base + up @ down`` for one tensor of one file."""

    component: str
    """The pipeline component that the tensor belongs to, such as ``text_encoder`` or ``unet``."""
    name: str
    """Canonical name: transformers' with the prefix ``text_model.``, or diffusers'."""
    stored_name: str
    """Name in the file."""
    file: Path
    base: Tensor
    """(out, in), in the dtype of the file."""
    up: Tensor
    """(out, rank) float64."""
    down: Tensor
    """(rank, in) float64."""

    @property
    def edited(self) -> Tensor:
        """The edited tensor, rounded once to the dtype of the file."""
        return (self.base.double() + self.up @ self.down).to(self.base.dtype)


def make_tensor_update(
    source: TextEncoder | Denoiser, name: str, up: Tensor, down: Tensor, base: Tensor | None = None
) -> TensorUpdate:
    """Return the update ``up @ down`` of a tensor of a text encoder or a denoiser.

    Args:
        source: the text encoder, or the denoiser.
        name: the tensor's canonical name.
        up: (out, rank) float64.
        down: (rank, in) float64.
        base: the tensor as stored; read from the file if None.
    """
    tensor = source.tensor(name) if base is None else base
    return TensorUpdate(source.component, name, source.stored_name(name), source.file_of(name), tensor, up, down)
