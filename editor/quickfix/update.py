"""The result of an edit: one tensor's exact low-rank update."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from editor.checkpoints import TextEncoder


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


def update_of(source: TextEncoder, name: str, up: Tensor, down: Tensor) -> TensorUpdate:
    """The update ``up @ down`` of one of an encoder's tensors, by its canonical name."""
    return TensorUpdate(
        source.component, name, source.stored_name(name), source.file_of(name), source.tensor(name), up, down
    )


def factors(matrix: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Balanced factors ``up @ down`` of the smallest rank that leaves out at most ``tolerance`` of the Frobenius norm."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    missing = values.square().flip(0).cumsum(0).flip(0).sqrt()
    rank = int((missing > tolerance * missing[:1]).sum())
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).contiguous(), (root[:, None] * right[:rank]).contiguous()
