"""Keys of a self-attention output projection, at the positions where they are wanted.

The key of a token is what enters ``out_proj`` (the concatenated head outputs); the value is what leaves it, less the bias,
which the edit keeps. All is computed in float64.

Before the first layer a token's state depends on the token and its position alone, so queries, keys and values are computed
once for each distinct (token, position) of all prompts: paddings, openings and shared words cost nothing again.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 16
"""Prompts whose attention is computed at a time, to all their distinct rows: few enough that most of these are theirs."""
NEVER = 1 << 30
"""The position of what a prompt does not hold."""


@dataclass(frozen=True)
class Places:
    """Positions in prompts: one for each column of a regression."""

    rows: Tensor
    """(n,), which prompt; ascending."""
    positions: Tensor
    """(n,), which token of it."""

    def part(self, which: slice | Tensor) -> "Places":
        """Some of them."""
        return Places(self.rows[which], self.positions[which])


@dataclass(frozen=True)
class States:
    """What enters a layer, each distinct row once."""

    values: Tensor
    """(distinct, d)."""
    index: Tensor
    """(prompts, length): the row of each token."""

    def at(self, places: Places) -> Tensor:
        """(n, d), the residual stream at some places."""
        return self.values[self.index[places.rows, places.positions]]


@dataclass(frozen=True)
class Attention:
    """One layer's self-attention up to what enters its output projection."""

    heads: int
    eps: float
    norm: tuple[Tensor, Tensor]
    projections: tuple[Tensor, Tensor]
    """Weight ``(3 d, d)`` and bias ``(3 d,)`` of queries, keys and values."""

    def keys(self, states: States, places: Places) -> Tensor:
        """(n, d), the keys at some places."""
        width = states.values.shape[1]
        normal = F.layer_norm(states.values, (width,), *self.norm, eps=self.eps)
        weight, bias = self.projections
        seen = F.linear(normal, weight[width:], bias[width:])
        asking, which = torch.unique(states.index[places.rows, places.positions], return_inverse=True)
        queries = F.linear(normal[asking], weight[:width], bias[:width])[which]
        chunk = CHUNK if len(normal) < states.index.numel() else 1
        ends = torch.bincount(places.rows // chunk).cumsum(0).tolist()
        parts = [slice(start, end) for start, end in pairwise([0, *ends]) if start < end]
        return torch.cat([self.mixed(queries[part], seen, states.index, places.part(part)) for part in parts])

    def mixed(self, queries: Tensor, seen: Tensor, index: Tensor, places: Places) -> Tensor:
        """Attention of some queries, (n, d), to the distinct rows that their prompts hold up to their places."""
        first, last = int(places.rows[0]), int(places.rows[-1]) + 1
        held, local = torch.unique(index[first:last], return_inverse=True)
        position = torch.full((last - first, len(held)), NEVER)
        position.scatter_(1, local, torch.arange(index.shape[1]).expand_as(local))
        visible = position[places.rows - first] <= places.positions[:, None]
        keys, values = seen[held].chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(
            self.by_head(queries), self.by_head(keys), self.by_head(values), attn_mask=visible
        )
        return mixed[0].transpose(0, 1).flatten(1)

    def by_head(self, rows: Tensor) -> Tensor:
        """(n, d) -> (1, heads, n, d / heads): the four dimensions for which torch has its fast path."""
        return rows.reshape(1, len(rows), self.heads, -1).transpose(1, 2)
