"""The hidden states that CLIP text encoders give to a denoiser, for many prompts in one pass over the layers.

Prompts with a common prefix share its states, as CLIP's attention is causal. Every layer is read once.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.checkpoints.key_mapping import POSITION_EMBEDDING, TOKEN_EMBEDDING
from editor.io.progress import check_canceled
from editor.sites.clip_attention import CLIPAttention, HiddenStates, unique_prefixes
from editor.sites.clip_mlp import apply_linear
from editor.sites.final_states import FINAL_NORM
from editor.sites.layer_reader import LayerReader
from editor.sites.lazy_clip import all_positions

PROMPT_CHUNK = 64
"""Prompts whose attention is computed at a time."""


@torch.no_grad()
def states_after(source: TextEncoder, ids: Tensor, layers: int) -> HiddenStates:
    """Return the hidden states after some layers, without the final norm, for token ids (prompts, length); float32."""
    first, flat_index = unique_prefixes(ids, all_positions(ids))
    index = flat_index.reshape(ids.shape)
    tokens, positions = ids.flatten()[first], torch.arange(ids.shape[1]).repeat(len(ids))[first]
    states = source.read_rows(TOKEN_EMBEDDING, tokens).float() + source.tensor(POSITION_EMBEDDING).float()[positions]
    reader = LayerReader(source, torch.float32)
    for layer in range(layers):
        check_canceled()
        block = reader.read(layer)
        stream = states + apply_linear(distinct_keys(block.attention, states, index, first), *block.out_proj)
        states = stream + block.mlp(stream)
    return HiddenStates(states, index)


def distinct_keys(attention: CLIPAttention, states: Tensor, index: Tensor, first: Tensor) -> Tensor:
    """Return the attention's mixed values of the distinct rows, (distinct, d).

    Args:
        states: (distinct, d), the layer's input.
        index: (prompts, length), the row of each position.
        first: (distinct,), the first position of each row among all positions, ascending.
    """
    qkv, length = attention.project(states), index.shape[1]
    starts = range(0, len(index), PROMPT_CHUNK)
    bounds = torch.searchsorted(first, torch.tensor([*(start * length for start in starts), index.numel()])).tolist()
    return torch.cat(
        [
            attention.all_keys(HiddenStates(states, index[start : start + PROMPT_CHUNK], qkv)).flatten(0, 1)[
                first[low:high] - start * length
            ]
            for start, (low, high) in zip(starts, pairwise(bounds), strict=True)
        ]
    )


def final_norm(source: TextEncoder, states: Tensor) -> Tensor:
    """Apply an encoder's final layer norm to states (..., d)."""
    weight, bias = (source.tensor(FINAL_NORM + part).float() for part in ("weight", "bias"))
    return F.layer_norm(states, states.shape[-1:], weight, bias, eps=source.eps)
