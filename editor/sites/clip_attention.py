"""Keys of a self-attention output projection, at selected token positions.

The key of a token is the input of ``out_proj`` (the concatenated head outputs). Its value is the output of ``out_proj``
without the bias, which the edit does not change.

Hidden states are given as distinct rows, and attention is computed over the distinct rows that a chunk of prompts contains,
so padding, common prefixes and shared words are attended to once.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.sites.clip_mlp import apply_linear

PROMPT_CHUNK = 16
"""Prompts whose attention is computed at a time, over all their distinct rows: few enough that they share most of these."""
ABSENT_POSITION = 1 << 30
"""The position of a row that a prompt does not contain, which is after every query."""


@dataclass(frozen=True)
class TokenPositions:
    """(prompt, position) index pairs."""

    prompt_index: Tensor
    """(n,), ascending."""
    positions: Tensor
    """(n,), the token's position in its prompt."""

    @classmethod
    def of_one_prompt(cls, positions: Tensor) -> "TokenPositions":
        """Return positions in the first prompt."""
        return cls(torch.zeros_like(positions), positions)

    def select(self, index: slice | Tensor) -> "TokenPositions":
        """Return some of the pairs."""
        return TokenPositions(self.prompt_index[index], self.positions[index])


def unique_prefixes(ids: Tensor, at: TokenPositions) -> tuple[Tensor, Tensor]:
    """Deduplicate n positions by their causal prefix, the tokens up to and including the position.

    Like ``numpy.unique(return_index=True, return_inverse=True)``.

    Returns:
        The index of the first position of each of the m distinct prefixes, (m,), and the prefix of each position, (n,).
    """
    texts, size = [row.tobytes() for row in ids.numpy()], ids.element_size()
    ends = zip(at.prompt_index.tolist(), at.positions.tolist(), strict=True)
    prefixes = [texts[prompt][: (end + 1) * size] for prompt, end in ends]
    first: dict[bytes, int] = {}
    for index, prefix in enumerate(prefixes):
        first.setdefault(prefix, index)
    number_of = {prefix: number for number, prefix in enumerate(first)}
    return torch.tensor(list(first.values())), torch.tensor([number_of[prefix] for prefix in prefixes])


@dataclass(frozen=True)
class HiddenStates:
    """The input of a layer, with each distinct row stored once."""

    values: Tensor
    """(distinct, d)."""
    index: Tensor
    """(prompts, length), the row of each token."""
    qkv: Tensor | None = None
    """(distinct, 3 d), their queries, keys and values, if already computed."""
    has_runs: bool = False
    """Whether a row can stand for several positions of a prompt."""

    def at(self, at: TokenPositions) -> Tensor:
        """Return the residual stream at some positions, (n, d)."""
        return self.values[self.index[at.prompt_index, at.positions]]


@dataclass(frozen=True)
class CLIPAttention:
    """One layer's self-attention up to the input of its output projection."""

    heads: int
    eps: float
    layer_norm: tuple[Tensor, Tensor]
    """Weight and bias, (d,) each."""
    qkv_projection: tuple[Tensor, Tensor]
    """Weight ``(3 d, d)`` and bias ``(3 d,)`` of queries, keys and values."""

    def to(self, dtype: torch.dtype) -> "CLIPAttention":
        """Convert the parameters to another dtype."""
        layer_norm = (self.layer_norm[0].to(dtype), self.layer_norm[1].to(dtype))
        qkv_projection = (self.qkv_projection[0].to(dtype), self.qkv_projection[1].to(dtype))
        return replace(self, layer_norm=layer_norm, qkv_projection=qkv_projection)

    def project(self, values: Tensor) -> Tensor:
        """Return the queries, keys and values, (n, 3 d), of input rows (n, d)."""
        normal = F.layer_norm(values, values.shape[1:], *self.layer_norm, eps=self.eps)
        return apply_linear(normal, *self.qkv_projection)

    def qkv(self, states: HiddenStates) -> Tensor:
        """Return the queries, keys and values of the distinct rows, (distinct, 3 d)."""
        return self.project(states.values) if states.qkv is None else states.qkv

    def all_keys(self, states: HiddenStates, bias: Tensor | None = None) -> Tensor:
        """Return the keys of every token, (prompts, length, d).

        Args:
            states: the layer's input.
            bias: added to the attention's logits, (prompts, 1, length, length); None for a causal mask.
        """
        queries, keys, values = (
            part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2)
            for part in self.qkv(states)[states.index].chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias, is_causal=bias is None)
        return mixed.transpose(1, 2).flatten(2)

    def keys(self, states: HiddenStates, at: TokenPositions) -> Tensor:
        """Return the keys at some positions, (n, d)."""
        width = states.values.shape[1]
        qkv = self.qkv(states)
        queries = qkv[states.index[at.prompt_index, at.positions], :width]
        chunk = 1 if states.qkv is None else PROMPT_CHUNK
        ends = torch.bincount(at.prompt_index // chunk).cumsum(0).tolist()
        parts = [slice(start, end) for start, end in pairwise([0, *ends]) if start < end]
        keys_values = qkv[:, width:]
        return torch.cat([self._attend(queries[part], keys_values, states, at.select(part)) for part in parts])

    def _attend(self, queries: Tensor, keys_values: Tensor, states: HiddenStates, at: TokenPositions) -> Tensor:
        """Attend from queries (n, d) to the distinct rows of their prompts, up to the position of each query."""
        first, last = int(at.prompt_index[0]), int(at.prompt_index[-1]) + 1
        distinct, local = torch.unique(states.index[first:last], return_inverse=True)
        starts, own = torch.full((last - first, len(distinct)), ABSENT_POSITION), at.prompt_index - first
        starts.scatter_reduce_(1, local, torch.arange(local.shape[1]).expand_as(local), "amin")
        mask = starts[own] <= at.positions[:, None]
        if states.has_runs:  # a row counts as often as the query sees it
            lengths = torch.zeros_like(starts).scatter_add_(1, local, torch.ones_like(local))
            seen = torch.minimum(at.positions[:, None] + 1 - starts[own], lengths[own])
            mask = seen.clamp(min=0).to(queries.dtype).log()
        keys, values = keys_values[distinct].chunk(2, dim=-1)
        mixed = F.scaled_dot_product_attention(
            self._split_heads(queries), self._split_heads(keys), self._split_heads(values), attn_mask=mask
        )
        return mixed[0].transpose(0, 1).flatten(1)

    def _split_heads(self, rows: Tensor) -> Tensor:
        """(n, d) -> (1, heads, n, d / heads): torch's fast path needs four dimensions."""
        return rows.reshape(1, len(rows), self.heads, -1).transpose(1, 2)
