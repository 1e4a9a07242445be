"""Keys of a self-attention output projection, at the positions where they are wanted.

The key of a token is what enters ``out_proj`` (the concatenated head outputs); the value is what leaves it, less the bias,
which the edit keeps.

What enters is given as distinct rows, and attention is computed to the distinct rows that some prompts hold: paddings,
openings and shared words are looked at once.
"""

from dataclasses import dataclass, replace
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


def openings(ids: Tensor, places: Places) -> tuple[Tensor, Tensor]:
    """Of places (n,) with the same tokens up to them the first (m,), and for each place which of these is its like (n,)."""
    texts, size = [row.tobytes() for row in ids.numpy()], ids.element_size()
    ends = zip(places.rows.tolist(), places.positions.tolist(), strict=True)
    opened = [texts[row][: (end + 1) * size] for row, end in ends]
    first = {opening: place for place, opening in reversed(list(enumerate(opened)))}
    order = {opening: number for number, opening in enumerate(sorted(first, key=first.__getitem__))}
    return torch.tensor(sorted(first.values())), torch.tensor([order[opening] for opening in opened])


@dataclass(frozen=True)
class States:
    """What enters a layer, each distinct row once."""

    values: Tensor
    """(distinct, d)."""
    index: Tensor
    """(prompts, length): the row of each token."""
    projected: Tensor | None = None
    """(distinct, 3 d): their queries, keys and values, where these are known already."""

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

    def to(self, dtype: torch.dtype) -> "Attention":
        """The same in another precision."""
        (scale, shift), (weight, bias) = self.norm, self.projections
        norm, projections = (scale.to(dtype), shift.to(dtype)), (weight.to(dtype), bias.to(dtype))
        return replace(self, norm=norm, projections=projections)

    def project(self, values: Tensor) -> Tensor:
        """Rows of what enters, (n, d) -> queries, keys and values, (n, 3 d)."""
        return F.linear(F.layer_norm(values, values.shape[1:], *self.norm, eps=self.eps), *self.projections)

    def projected(self, states: States) -> Tensor:
        """(distinct, 3 d), queries, keys and values."""
        return self.project(states.values) if states.projected is None else states.projected

    def everywhere(self, states: States) -> Tensor:
        """(prompts, length, d), the keys of every token."""
        queries, keys, values = (
            part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2)
            for part in self.projected(states)[states.index].chunk(3, dim=-1)
        )
        return F.scaled_dot_product_attention(queries, keys, values, is_causal=True).transpose(1, 2).flatten(2)

    def keys(self, states: States, places: Places) -> Tensor:
        """(n, d), the keys at some places."""
        width = states.values.shape[1]
        projected = self.projected(states)
        queries = projected[states.index[places.rows, places.positions], :width]
        chunk = 1 if states.projected is None else CHUNK
        ends = torch.bincount(places.rows // chunk).cumsum(0).tolist()
        parts = [slice(start, end) for start, end in pairwise([0, *ends]) if start < end]
        seen = projected[:, width:]
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
