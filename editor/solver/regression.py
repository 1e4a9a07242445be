"""The rows of the weighted regression that an edit solves, and the keys of the prompts to retain.

A key depends only on the tokens up to its own, so prompts with a common prefix share keys. Each distinct key is stored once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
    earlier: Tensor | None = None
    """(n, o), what the layers before this one have added to the output; None if there are none."""
    unedited: Tensor | None = None
    """(n, o), the residuals before the edits of earlier layers; None if there are none."""

    @property
    def initial_squares(self) -> Tensor:
        """The squared norm of each residual before any edit, (n,)."""
        return (self.residuals if self.unedited is None else self.unedited).square().sum(1)

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
        """Return the weighted norm of the output that each prompt pair should have, (pairs,), given the map (o, d)."""
        values = (self.keys.to(weight) @ weight.T).double()[self.key_index] + self.residuals
        values = values if self.earlier is None else values + self.earlier
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
    residuals: Tensor | None = None
    """(m, o), what the edits of earlier layers took from the output, for this one to restore; None if there are none."""
    earlier: Tensor | None = None
    """(m, o), what the layers before this one have added to the output; None if there are none."""

    @property
    def prompt_count(self) -> int:
        """Number of prompts."""
        return int(self.prompt_index[-1]) + 1

    @property
    def key_weights(self) -> Tensor:
        """The weight of each distinct key, averaged over prompts, (m,)."""
        return segment_sum(self.weights, self.key_index, len(self.keys)) / self.prompt_count

    @property
    def moment(self) -> Tensor:
        """The keys' second moment, averaged over prompts, (d, d)."""
        return second_moment(self.keys, self.key_weights)

    @property
    def target(self) -> Tensor | None:
        """``R A K^T``, averaged over prompts, (o, d); None if there is nothing to restore."""
        return None if self.residuals is None else (self.residuals * self.key_weights[:, None]).T @ self.keys

    def in_bases(self, keys: Tensor, output_basis: Tensor | None) -> "RetainedKeys":
        """Return the same in other coordinates: its keys as they are there, (m, q), and its residuals by a basis (o, p)."""
        if self.residuals is None or output_basis is None:
            return replace(self, keys=keys)
        return replace(self, keys=keys, residuals=self.residuals @ output_basis)

    def prompt_norms(self, vectors: Tensor) -> Tensor:
        """Return the weighted norm of each prompt, (prompts,), from one vector for each distinct key, (m, any)."""
        squares = vectors.square().sum(1)[self.key_index] * self.weights
        return segment_sum(squares, self.prompt_index, self.prompt_count).sqrt()

    def prompt_changes(self, changes: Tensor) -> Tensor:
        """Return the norm of each prompt's change, (prompts,), by earlier edits and by one that changes values by (m, o)."""
        return self.prompt_norms(changes if self.residuals is None else changes - self.residuals)

    def output_norms(self, weight: Tensor) -> Tensor:
        """Return the norm of each prompt's unedited output, (prompts,), given the map (o, d)."""
        outputs = (self.keys.to(weight) @ weight.T).double()
        added = (one for one in (self.residuals, self.earlier) if one is not None)
        return self.prompt_norms(sum(added, outputs))
