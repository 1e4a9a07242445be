"""The normal equations of one request: aligned columns of its prompts, the retain prompts' moment, what is protected."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editor.prompts import Pair, PromptBook, Removal, aligned_columns
from editor.quickfix.keys import FirstLayer
from editor.quickfix.solve import Solution, Statistics, free_basis, solve, statistics

RIDGE = 1e-6
"""Lambda relative to the mean eigenvalue of the keys' second moment, so that it means the same for every model."""
RETAIN_PROMPTS = 600


@dataclass(frozen=True)
class Columns:
    """Keys, residuals and weights of many prompts: ``(n, d)``, ``(n, d)``, ``(n,)``."""

    keys: Tensor
    residuals: Tensor
    weights: Tensor

    def statistics(self) -> Statistics:
        """Their share of the normal equations."""
        return statistics(self.keys, self.residuals, self.weights)


@dataclass(frozen=True)
class Problem:
    """All that the solve needs, whatever the preservation weight."""

    layer: FirstLayer
    removal: Statistics
    columns: int
    retained: Tensor
    """Mean second moment of the retain prompts, (d, d)."""
    basis: Tensor

    def solve(self, preservation: float) -> Solution:
        """The update for one preservation weight."""
        ridge = RIDGE * float(self.removal.moment.trace()) / len(self.retained)
        return solve(self.removal, preservation * self.retained, self.basis, ridge)


def pair_columns(layer: FirstLayer, pairs: Sequence[Pair]) -> Columns:
    """Aligned columns of prompt pairs; each prompt weighs the same, and each role within it."""
    sources = layer.keys(torch.stack([pair.concept.ids for pair in pairs]))
    targets = layer.keys(torch.stack([pair.destination.ids for pair in pairs]))
    places = [(i, column) for i, pair in enumerate(pairs) for column in aligned_columns(pair)]
    rows = torch.tensor([i for i, _ in places])
    keys = sources[rows, [column.key for _, column in places]]
    wanted = targets[rows, [column.value for _, column in places]]
    weights = torch.tensor([column.weight for _, column in places], dtype=torch.float64) / len(pairs)
    return Columns(keys, (wanted - keys) @ layer.weight.T, weights)


def second_moment(layer: FirstLayer, ids: Tensor, eos_id: int) -> Tensor:
    """Mean over prompts of the keys' second moment after BOS: words, EOS and padding each weigh 1 in sum, words 2."""
    keys = layer.keys(ids)
    ends = (ids == eos_id).int().argmax(1)
    places = torch.arange(ids.shape[1])[None, :]
    words = (places > 0) & (places < ends[:, None])
    padding = places > ends[:, None]
    weights = (places == ends[:, None]).double()
    weights += 2 * words / words.sum(1, keepdim=True).clamp(min=1)
    weights += padding / padding.sum(1, keepdim=True).clamp(min=1)
    rows = (keys * (weights / len(ids)).sqrt()[:, :, None]).flatten(0, 1)
    return rows.T @ rows


def pose(layer: FirstLayer, book: PromptBook, removals: Sequence[Removal]) -> Problem:
    """Gather the normal equations of all removals, the retain prompts' moment and the protected directions."""
    columns = [pair_columns(layer, book.edit_pairs(removal)) for removal in removals]
    parts = [part.statistics() for part in columns]
    removal = sum(parts[1:], parts[0])
    retained = second_moment(layer, book.ids(book.retain_texts(removals, RETAIN_PROMPTS)), book.tokenizer.eos_token_id)
    basis = free_basis(null_prompt_keys(layer, book))
    return Problem(layer, removal, sum(len(part.keys) for part in columns), retained, basis)


def null_prompt_keys(layer: FirstLayer, book: PromptBook) -> Tensor:
    """Keys of the empty prompt, (context, d). Its first is BOS's, which is the same in every prompt."""
    return layer.keys(book.ids([""]))[0]
