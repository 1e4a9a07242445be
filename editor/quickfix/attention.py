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

CHUNK = 64
"""Prompts whose attention is computed at a time: bounds the memory."""


@dataclass(frozen=True)
class Places:
    """Positions in prompts: one for each column of a regression."""

    rows: Tensor
    """(n,), which prompt; ascending."""
    positions: Tensor
    """(n,), which token of it."""


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
        ends = torch.bincount(places.rows // CHUNK).cumsum(0).tolist()
        parts = [slice(start, end) for start, end in pairwise([0, *ends]) if start < end]
        mixed = [
            self.mixed(queries[part], seen, states.index, places.rows[part], places.positions[part]) for part in parts
        ]
        return torch.cat(mixed)

    def mixed(self, queries: Tensor, seen: Tensor, index: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """Attention of some queries to all earlier tokens of their prompts, (n, d)."""
        first, length, width = int(rows[0]), int(positions.max()) + 1, queries.shape[1]
        counts = torch.bincount(rows - first)
        slots = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows - first]
        shape = (len(counts), int(counts.max()))
        asked, until = torch.zeros(*shape, width, dtype=queries.dtype), torch.zeros(shape, dtype=torch.long)
        asked[rows - first, slots], until[rows - first, slots] = queries, positions
        keys, values = seen[index[first : first + len(counts), :length]].chunk(2, dim=-1)
        visible = torch.arange(length) <= until[:, None, :, None]
        mixed = F.scaled_dot_product_attention(
            self.by_head(asked), self.by_head(keys), self.by_head(values), attn_mask=visible
        )
        return mixed.transpose(1, 2).flatten(2)[rows - first, slots]

    def by_head(self, rows: Tensor) -> Tensor:
        """(prompts, n, d) -> (prompts, heads, n, d / heads)."""
        return rows.reshape(*rows.shape[:2], self.heads, -1).transpose(1, 2)
