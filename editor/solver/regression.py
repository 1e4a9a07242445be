"""The rows of the weighted regression that an edit solves, and the keys of the prompts to retain.

A key depends only on the tokens up to its own, so prompts with a common prefix share keys. Each distinct key is stored once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from editor.solver.least_squares import Statistics, second_moment


@dataclass(frozen=True)
class RegressionRows:
    """n weighted pairs of a key and the residual that the update should add to its value."""

    keys: Tensor
    """(m, d), the distinct keys."""
    key_index: Tensor
    """(n,), the key of each row."""
    residuals: Tensor
    """(n, o)."""
    weights: Tensor
    """(n,)."""
    pair_index: Tensor
    """(n,), the prompt pair of each row."""

    def statistics(self) -> Statistics:
        """Return their contribution to the normal equations."""
        weighted = self.residuals * self.weights[:, None]
        target = weighted.new_zeros(len(self.keys), weighted.shape[1]).index_add(0, self.key_index, weighted)
        key_weights = segment_sum(self.weights, self.key_index, len(self.keys))
        return Statistics(second_moment(self.keys, key_weights), target.T @ self.keys)

    def squared_residuals(self, update: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the squared norm of each residual after an update, (n,).

        Args:
            update: maps keys (m, d) to the change of their values, (m, o).
        """
        return (self.residuals - update(self.keys)[self.key_index]).square().sum(1)

    def value_norms(self, weight: Tensor) -> Tensor:
        """Return the weighted norm of the values that each prompt pair should have, (pairs,), given the map (o, d)."""
        values = (self.keys.to(weight) @ weight.T).double()[self.key_index] + self.residuals
        squares = values.square().sum(1) * self.weights
        return segment_sum(squares, self.pair_index, int(self.pair_index[-1]) + 1).sqrt()


def segment_sum(values: Tensor, segments: Tensor, count: int) -> Tensor:
    """Return the sums (count,) of the values (n,) in each segment, where ``segments`` (n,) has each value's segment."""
    return values.new_zeros(count).index_add(0, segments, values)


def concatenate_rows(parts: Sequence[RegressionRows]) -> RegressionRows:
    """Concatenate rows, renumbering their keys."""
    offsets = accumulate((len(part.keys) for part in parts), initial=0)
    return RegressionRows(
        torch.cat([part.keys for part in parts]),
        torch.cat([part.key_index + offset for part, offset in zip(parts, offsets, strict=False)]),
        torch.cat([part.residuals for part in parts]),
        torch.cat([part.weights for part in parts]),
        torch.cat([part.pair_index for part in parts]),
    )


@dataclass(frozen=True)
class RetainedKeys:
    """Keys at n positions that represent the prompts to retain."""

    keys: Tensor
    """(m, d), the distinct keys."""
    key_index: Tensor
    """(n,), the key at each position."""
    weights: Tensor
    """(n,), which in each prompt add up to 0.4 for the words, 1 for EOS and 1 for the padding."""
    prompt_index: Tensor
    """(n,), the prompt of each position; ascending."""

    @property
    def prompt_count(self) -> int:
        """Number of prompts."""
        return int(self.prompt_index[-1]) + 1

    @property
    def moment(self) -> Tensor:
        """The keys' second moment, averaged over prompts, (d, d)."""
        return second_moment(self.keys, segment_sum(self.weights, self.key_index, len(self.keys)) / self.prompt_count)

    def prompt_norms(self, vectors: Tensor) -> Tensor:
        """Return the weighted norm of each prompt, (prompts,), from one vector for each distinct key, (m, any)."""
        squares = vectors.square().sum(1)[self.key_index] * self.weights
        return segment_sum(squares, self.prompt_index, self.prompt_count).sqrt()
