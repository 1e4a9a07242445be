"""The result of an edit: one tensor's exact low-rank update."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from editor.checkpoints import TextEncoder

COARSE = 1e-6
"""What may be left out where squares are exact enough to decompose."""
TINY = 1e-300


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


def update_of(source: TextEncoder, name: str, up: Tensor, down: Tensor, base: Tensor | None = None) -> TensorUpdate:
    """The update ``up @ down`` of one of an encoder's tensors, by its canonical name; read unless ``base`` has it already."""
    before = source.tensor(name) if base is None else base
    return TensorUpdate(source.component, name, source.stored_name(name), source.file_of(name), before, up, down)


def factors(matrix: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Balanced factors ``up @ down`` of the smallest rank that leaves out at most ``tolerance`` of the Frobenius norm."""
    up, values, down = principal(matrix) if tolerance >= COARSE else torch.linalg.svd(matrix, full_matrices=False)
    missing = values.square().flip(0).cumsum(0).flip(0).sqrt()
    rank = int((missing > tolerance * missing[:1]).sum())
    root = values[:rank].sqrt()
    return (up[:, :rank] * root).contiguous(), (root[:, None] * down[:rank]).contiguous()


def principal(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The singular value decomposition by the eigenvectors of the smaller Gram matrix, in half of the time.

    What is below 1e-8 of the largest value drowns in rounding.
    """
    if len(matrix) > matrix.shape[1]:
        left, values, right = principal(matrix.T)
        return right.T, values, left.T
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
    values, left = squares.clamp(min=0).sqrt().flip(0), vectors.flip(1)
    return left, values, (left.T @ matrix) / values.clamp(min=TINY)[:, None]
