"""Final hidden states of prompts before and after an edit, at the positions that are read.

Every layer is read once for both. Prompts with a common prefix share its states, as CLIP's attention is causal. Along the
padding states change slowly, so a position there can stand for a run of positions: attention counts it as many times.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from editor.checkpoints import OutputProjection, TextEncoder
from editor.checkpoints.key_mapping import POSITION_EMBEDDING, TOKEN_EMBEDDING
from editor.io.progress import check_canceled
from editor.prompts import TokenizedPrompt
from editor.sites.clip_attention import CLIPAttention, HiddenStates, TokenPositions, unique_prefixes
from editor.sites.clip_mlp import apply_linear
from editor.sites.layer_reader import CLIPLayer, LayerReader

FINAL_NORM = "text_model.final_layer_norm."
EncoderUpdates = Mapping[OutputProjection, Tensor]
"""dW of each edited map of a text encoder."""
LayerUpdates = tuple[Tensor | None, Tensor | None]
"""dW of the output projections of a layer's attention and of its MLP."""
NO_UPDATES: EncoderUpdates = {}
PROMPT_CHUNK = 64
"""Prompts whose attention is computed at a time."""


def padding_runs(count: int, samples: int | None) -> list[int]:
    """Divide padding into runs that grow geometrically, and return their lengths; None for one run a position."""
    if samples is None or samples >= count:
        return [1] * count
    ends = [0]
    for index in range(1, samples + 1):
        ends.append(max(ends[-1] + 1, round((count + 1) ** (index / samples)) - 1))
    return [end - start for start, end in pairwise(ends)]


def grid_runs(count: int, stride: int) -> list[int]:
    """Divide padding into runs of ``stride`` positions, counted from its end, and return their lengths."""
    first = [count % stride] if count % stride else []
    return first + [stride] * (count // stride)


def run_lengths(prompts: Sequence[TokenizedPrompt], padding: Sequence[list[int]]) -> Tensor:
    """Return the lengths of each prompt's runs, (prompts, slots): one up to EOS at each position, then those of its padding."""
    runs = [[1] * (prompt.eos + 1) + after for prompt, after in zip(prompts, padding, strict=True)]
    return pad_sequence([torch.tensor(one) for one in runs], batch_first=True)


@dataclass(frozen=True)
class SampledPrompts:
    """Token ids of prompts, and slots: positions at which states are computed, each of which stands for a run of positions."""

    ids: Tensor
    """(prompts, length)."""
    eos: Tensor
    """(prompts,), the position of EOS."""
    positions: Tensor
    """(prompts, slots), the middle of each run. Prompts with fewer slots repeat their last position."""
    starts: Tensor
    """(prompts, slots), the first position of each run."""
    lengths: Tensor
    """(prompts, slots); zero for the repetitions."""

    @classmethod
    def of(cls, prompts: Sequence[TokenizedPrompt], paddings: int | None = None) -> "SampledPrompts":
        """Select every position up to EOS and the middles of ``paddings`` runs after it; None for all."""
        runs = [padding_runs(len(prompt.ids) - prompt.eos - 1, paddings) for prompt in prompts]
        lengths = run_lengths(prompts, runs)
        return cls._at(prompts, lengths, (lengths - 1).clamp(min=0) // 2)

    @classmethod
    def on_grid(cls, prompts: Sequence[TokenizedPrompt], stride: int) -> "SampledPrompts":
        """Select every position up to EOS and after it the same positions in each prompt: every ``stride``-th from the last."""
        runs = [grid_runs(len(prompt.ids) - prompt.eos - 1, stride) for prompt in prompts]
        lengths = run_lengths(prompts, runs)
        return cls._at(prompts, lengths, (lengths - 1).clamp(min=0))

    @classmethod
    def _at(cls, prompts: Sequence[TokenizedPrompt], lengths: Tensor, offsets: Tensor) -> "SampledPrompts":
        """Select one position of each run, given from its first one."""
        starts = lengths.cumsum(1) - lengths
        ids, eos = torch.stack([prompt.ids for prompt in prompts]), torch.tensor([prompt.eos for prompt in prompts])
        last = (lengths > 0).sum(1, keepdim=True) - 1
        slots = torch.minimum(torch.arange(lengths.shape[1]), last)
        return cls(ids, eos, (starts + offsets).gather(1, slots), starts, lengths)

    def expand(self, values: Tensor) -> Tensor:
        """Return for every position of the context (prompts, length) the value of its slot, from values (prompts, slots)."""
        rows = zip(values, self.lengths, strict=True)
        return torch.stack([row.repeat_interleave(lengths) for row, lengths in rows])

    @property
    def padding_weights(self) -> Tensor:
        """The number of positions from EOS on that each slot stands for, (prompts, slots)."""
        return self.lengths * (self.starts >= self.eos[:, None])

    @cached_property
    def distinct(self) -> tuple[Tensor, Tensor]:
        """The first of the slots with each distinct prefix, (m,), and the prefix of each slot, (prompts, slots)."""
        prompts = torch.arange(len(self.ids)).repeat_interleave(self.positions.shape[1])
        first, index = unique_prefixes(self.ids, TokenPositions(prompts, self.positions.flatten()))
        return first, index.reshape(self.positions.shape)

    def attention_bias(self) -> Tensor:
        """Return the logarithm of how many positions each slot shows to each other slot, (prompts, 1, slots, slots)."""
        ends = self.starts + self.lengths
        visible = torch.minimum(ends[:, None, :], self.positions[:, :, None] + 1) - self.starts[:, None, :]
        return visible.clamp(min=0).float().log()[:, None]


@torch.no_grad()
def final_states_before_and_after(
    source: TextEncoder, updates: EncoderUpdates, prompts: SampledPrompts, weight_dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Return the final hidden states without and with updates, (prompts, slots, d) each.

    Args:
        source: the text encoder.
        updates: dW of each edited map.
        prompts: the prompts, and the positions at which states are computed.
        weight_dtype: the dtype of products with the weights. Norms, attention and the residual stream are float32.
    """
    first, index = prompts.distinct
    states, bias, reader = embed(source, prompts, first), prompts.attention_bias(), LayerReader(source, weight_dtype)
    rows, slots = len(first), index.numel()
    for layer in range(source.layers):
        check_canceled()
        if layer == min(updates).layer:  # from here on the second half of the rows is that of the edited encoder
            states, index, bias = torch.cat([states] * 2), torch.cat([index, index + rows]), torch.cat([bias] * 2)
            first = torch.cat([first, first + slots])
        states = layer_output(reader.read(layer), states, index, first, bias, layer_updates(updates, layer), rows)
    before, after = final_norm(source, states)[index].chunk(2)
    return before, after


@torch.no_grad()
def states_after(
    source: TextEncoder,
    prompts: SampledPrompts,
    layers: int,
    updates: EncoderUpdates = NO_UPDATES,
    earlier: tuple[int, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the hidden states after some layers, without the final norm.

    Args:
        source: the text encoder.
        prompts: the prompts, and the positions at which states are computed.
        layers: number of layers.
        updates: dW of each edited map.
        earlier: a number of layers, and the distinct states after these, to continue from.

    Returns:
        The distinct states (m, d) float32, and the state of each slot, (prompts, slots).
    """
    first, index = prompts.distinct
    done, states = earlier or (0, embed(source, prompts, first))
    bias, reader = prompts.attention_bias(), LayerReader(source, torch.float32)
    for layer in range(done, layers):
        check_canceled()
        states = layer_output(reader.read(layer), states, index, first, bias, layer_updates(updates, layer))
    return states, index


def final_norm(source: TextEncoder, states: Tensor) -> Tensor:
    """Apply an encoder's final layer norm to states (..., d)."""
    weight, bias = (source.tensor(FINAL_NORM + part).float() for part in ("weight", "bias"))
    return F.layer_norm(states, states.shape[-1:], weight, bias, eps=source.eps)


def embed(source: TextEncoder, prompts: SampledPrompts, first: Tensor) -> Tensor:
    """Return the first layer's input at some slots, (n, d) float32."""
    positions = prompts.positions.flatten()[first]
    tokens = prompts.ids.gather(1, prompts.positions).flatten()[first]
    return source.read_rows(TOKEN_EMBEDDING, tokens).float() + source.tensor(POSITION_EMBEDDING).float()[positions]


def layer_output(
    block: CLIPLayer,
    states: Tensor,
    index: Tensor,
    first: Tensor,
    bias: Tensor,
    updates: LayerUpdates = (None, None),
    rows: int = 0,
) -> Tensor:
    """Return a layer's output, (distinct, d); rows from ``rows`` on get the updates."""
    keys = distinct_keys(block.attention, HiddenStates(states, index), first, bias)
    stream = states + edited_output(keys, block.out_proj, updates[0], rows)
    return stream + edited_output(block.mlp.keys(stream), block.mlp.fc2, updates[1], rows)


def layer_updates(updates: EncoderUpdates, layer: int) -> LayerUpdates:
    """Return dW of a layer's attention and of its MLP."""
    return updates.get(OutputProjection(layer)), updates.get(OutputProjection(layer, of_mlp=True))


def edited_output(keys: Tensor, linear: tuple[Tensor, Tensor], update: Tensor | None, rows: int) -> Tensor:
    """Return the values of keys under a linear map, (n, o), to which an update is added for the rows from ``rows`` on."""
    values = apply_linear(keys, *linear)
    if update is not None:
        values[rows:] += keys[rows:] @ update.float().T
    return values


def distinct_keys(attention: CLIPAttention, states: HiddenStates, first: Tensor, bias: Tensor) -> Tensor:
    """Return the attention's keys of the distinct rows, (distinct, d).

    Args:
        attention: the attention.
        states: the layer's input.
        first: (distinct,), the first slot of each row among all slots, ascending.
        bias: (prompts, 1, slots, slots), added to the attention's logits.
    """
    prompts, slots = states.index.shape
    projected = replace(states, qkv=attention.qkv(states))
    starts = range(0, prompts, PROMPT_CHUNK)
    bounds = torch.searchsorted(first, torch.tensor([*(start * slots for start in starts), prompts * slots])).tolist()
    return torch.cat(
        [
            attention.all_keys(
                replace(projected, index=states.index[start : start + PROMPT_CHUNK]), bias[start : start + PROMPT_CHUNK]
            ).flatten(0, 1)[first[low:high] - start * slots]
            for start, (low, high) in zip(starts, pairwise(bounds), strict=True)
        ]
    )
