"""Linear maps that read one stream, and what a solution D in the stream's space makes of each of them: ``dW = W D``."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from editor.checkpoints import Denoiser
from editor.checkpoints.tensor_update import TensorUpdate, make_tensor_update
from editor.solver.least_squares import cholesky

MIN_NORM = 1e-30
"""Smallest norm of a map that counts: a map of zeros changes nothing."""
RELATIVE_JITTER = 1e-10
"""Added to the diagonal of a Gram matrix, relative to its mean, before it is factored."""


@dataclass(frozen=True)
class SharedWeights:
    """The tensors of a denoiser that read one stream."""

    denoiser: Denoiser
    names: tuple[str, ...]
    """Their names in diffusers, in order."""
    width: int
    """Input columns that read the stream, d; a map may read other things in the columns after these."""

    def weights(self) -> Iterator[Tensor]:
        """Read the part of each map that reads the stream, (o, d) float64."""
        return (self.denoiser.tensor(name)[:, : self.width].double() for name in self.names)

    @cached_property
    def root(self) -> Tensor:
        """A map (p, d), p <= d, that gives a vector the norm of its values at all maps, each relative to the map's size.

        ``root^T root`` is the sum of ``W^T W / |W|^2``. Few outputs are stacked; many are summarised by a Cholesky factor.
        """
        outputs = sum(self.denoiser.shape(name)[0] for name in self.names)
        if outputs < self.width:
            return torch.cat([weight / weight.norm().clamp(min=MIN_NORM) for weight in self.weights()])
        gram = torch.zeros(self.width, self.width, dtype=torch.float64)
        for weight in self.weights():
            gram += weight.T @ weight / weight.square().sum().clamp(min=MIN_NORM)
        gram.diagonal().add_(RELATIVE_JITTER * float(gram.trace()) / self.width)
        return cholesky(gram).T.contiguous()

    def to_stream_space(self, up: Tensor) -> Tensor:
        """Return the factor (d, r) of D from the factor (p, r) of ``root D``: the one of least norm."""
        if len(self.root) == self.width:
            solution: Tensor = torch.linalg.solve_triangular(self.root, up, upper=True)
            return solution
        return self.root.T @ torch.cholesky_solve(up, cholesky(self.root @ self.root.T))

    def updates(self, up: Tensor, down: Tensor) -> list[TensorUpdate]:
        """Return the update of every map for ``D = up @ down``. All have the same ``down``.

        Args:
            up: (d, r) float64.
            down: (r, d) float64.
        """
        return [self._update(name, up, down) for name in self.names]

    def _update(self, name: str, up: Tensor, down: Tensor) -> TensorUpdate:
        base = self.denoiser.tensor(name)
        beyond = down.new_zeros(len(down), base.shape[1] - self.width)
        factor = base[:, : self.width].double() @ up
        return make_tensor_update(self.denoiser, name, factor, torch.cat([down, beyond], dim=1), base)
