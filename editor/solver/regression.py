"""The regression that an edit solves: weighted keys and residuals, and the keys of retained prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from editor.solver.least_squares import Statistics, moment


@dataclass(frozen=True)
class Columns:
    """Keys, residuals and weights of n columns.

    A key depends on the tokens up to its own alone, so columns of prompts that open alike have it in common.
    """

    keys: Tensor
    """(m, d), each once."""
    which: Tensor
    """(n,): a column's key."""
    residuals: Tensor
    """(n, o)."""
    weights: Tensor
    """(n,)."""
    pairs: Tensor
    """(n,): which pair of prompts a column is of."""

    def statistics(self) -> Statistics:
        """Their share of the normal equations."""
        weighted = self.residuals * self.weights[:, None]
        target = weighted.new_zeros(len(self.keys), weighted.shape[1]).index_add(0, self.which, weighted)
        return Statistics(moment(self.keys, summed(self.weights, self.which, len(self.keys))), target.T @ self.keys)

    def left(self, update: Callable[[Tensor], Tensor]) -> Tensor:
        """Squared norm of what an update, keys (m, d) -> outputs (m, o), leaves of each residual, (n,)."""
        return (self.residuals - update(self.keys)[self.which]).square().sum(1)


def summed(weights: Tensor, which: Tensor, count: int) -> Tensor:
    """Sums (count,) of the weights (n,) that belong together."""
    return weights.new_zeros(count).index_add(0, which, weights)


def joined(parts: Sequence[Columns]) -> Columns:
    """One after the other."""
    offsets = accumulate((len(part.keys) for part in parts), initial=0)
    return Columns(
        torch.cat([part.keys for part in parts]),
        torch.cat([part.which + offset for part, offset in zip(parts, offsets, strict=False)]),
        torch.cat([part.residuals for part in parts]),
        torch.cat([part.weights for part in parts]),
        torch.cat([part.pairs for part in parts]),
    )


@dataclass(frozen=True)
class Retained:
    """Places that stand for whole prompts which shall stay as they are."""

    keys: Tensor
    """(m, d), each once."""
    which: Tensor
    """(n,): the key at a place."""
    weights: Tensor
    """(n,): of a prompt's words 2 in sum, of EOS 1, of its padding 1."""
    prompts: Tensor
    """(n,): which prompt a place is in; ascending."""

    @property
    def count(self) -> int:
        """Prompts."""
        return int(self.prompts[-1]) + 1

    @property
    def moment(self) -> Tensor:
        """The keys' mean second moment over prompts, (d, d)."""
        return moment(self.keys, summed(self.weights, self.which, len(self.keys)) / self.count)

    def norms(self, rows: Tensor) -> Tensor:
        """Weighted norm of each prompt's rows, (prompts,), where ``rows`` (m, any) are those of the keys."""
        squares = rows.square().sum(1)[self.which] * self.weights
        return summed(squares, self.prompts, self.count).sqrt()
