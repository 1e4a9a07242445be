"""The result of an edit: one tensor's exact low-rank update."""

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True)
class TensorUpdate:
    """``edited = base + up @ down`` for one tensor of one file."""

    component: str
    """The pipeline's component that the tensor belongs to, ``text_encoder`` or ``text_encoder_2``."""
    name: str
    """Canonical, with ``text_model.`` in front."""
    stored_name: str
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
