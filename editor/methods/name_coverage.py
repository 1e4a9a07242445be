"""Which names of a concept an edit covers: those that are about as far gone as the concept itself."""

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.name_expansion import ConceptName
from editor.prompts.templates import evenly_spaced
from editor.sites.final_states import EncoderUpdates
from editor.sites.key_value_pairs import Aim, Site, open_site, regression_rows
from editor.sites.lazy_clip import LazyCLIPTextModel

COVERAGE_TOLERANCE = 0.1
"""A covered name keeps at most this much more of its distance to the destination than the concept's own name keeps."""
COVERAGE_PROMPTS = 8
"""Prompts of each name that are measured."""


def covered_names(
    source: TextEncoder,
    builder: PromptBuilder,
    deltas: EncoderUpdates,
    removal: ResolvedRemoval,
    aim: Aim,
) -> list[ConceptName]:
    """Return the names of a removal that the updates of a text encoder cover, the concept's own first.

    Args:
        source: the text encoder.
        builder: builds its prompts.
        deltas: dW of each edited map. The last one's decides, as it is solved with the others applied.
        removal: the removal.
        aim: the activation that the updates match.
    """
    last = max(deltas)
    site = open_site(LazyCLIPTextModel(source), deltas, last)
    names = builder.expand(removal).names
    remaining = remaining_shares(site, builder, deltas[last], removal, names, aim)
    return [name for name, share in zip(names, remaining, strict=True) if share <= remaining[0] + COVERAGE_TOLERANCE]


def remaining_shares(
    site: Site,
    builder: PromptBuilder,
    delta: Tensor,
    removal: ResolvedRemoval,
    names: Sequence[ConceptName],
    aim: Aim,
) -> list[float]:
    """Return the share of each name's squared distance to its destination that remains after an update; 1 without prompts.

    All names are measured at once, on `COVERAGE_PROMPTS` prompts each.
    """
    pairs = [evenly_spaced(builder.name_pairs(removal, name), COVERAGE_PROMPTS) for name in names]
    if not any(pairs):
        return [1.0] * len(names)
    rows = regression_rows(site, list(chain.from_iterable(pairs)), aim)
    owners = torch.arange(len(names)).repeat_interleave(torch.tensor([len(own) for own in pairs]))[rows.pair_index]
    squares = torch.stack([rows.residuals.square().sum(1), rows.squared_residuals(lambda keys: keys @ delta.T)])
    sums = torch.zeros(2, len(names), dtype=squares.dtype).index_add_(1, owners, squares * rows.weights)
    return [float(remaining / initial) if own else 1.0 for own, initial, remaining in zip(pairs, *sums, strict=True)]
