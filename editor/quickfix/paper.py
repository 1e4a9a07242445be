"""The released Diff-QuickFix procedure, for comparison: what it does, including what it gets wrong.

Four prefixes; keys from the last subject token to the last padding; values paired by distance from the subject, the last
position repeated where the destination runs out; values include the bias of ``out_proj`` although the bias stays; absolute
lambda 0.01; nothing preserved or protected. Only the arithmetic is better: a float64 solve instead of a float32 inverse.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from editor.prompts import Pair, PromptBook, Removal
from editor.quickfix.keys import FirstLayer
from editor.quickfix.solve import Solution, Statistics, solve, statistics

RIDGE = 0.01


def paper_columns(layer: FirstLayer, pair: Pair, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and residuals of one pair, (n, d) each."""
    length = len(pair.concept.ids)
    sources, targets = layer.keys(torch.stack([pair.concept.ids, pair.destination.ids]))
    places = torch.arange(pair.last_subject, length)
    values = (pair.destination.eos - 1 + torch.arange(len(places))).clamp(max=length - 1)
    keys = sources[places]
    return keys, (targets[values] - keys) @ layer.weight.T + bias


def paper_statistics(layer: FirstLayer, book: PromptBook, removals: Sequence[Removal]) -> tuple[Statistics, int]:
    """Unweighted sums over all pairs, and the number of columns."""
    bias = layer.source.tensor("text_model.encoder.layers.0.self_attn.out_proj.bias").double()
    columns = [paper_columns(layer, pair, bias) for removal in removals for pair in book.paper_pairs(removal)]
    keys, residuals = torch.cat([k for k, _ in columns]), torch.cat([r for _, r in columns])
    return statistics(keys, residuals, torch.ones(len(keys), dtype=torch.float64)), len(keys)


def paper_solve(removal: Statistics) -> Solution:
    """Ridge regression, nothing more."""
    width = len(removal.moment)
    identity = torch.eye(width, dtype=torch.float64)
    return solve(removal, torch.zeros_like(identity), identity, RIDGE)
