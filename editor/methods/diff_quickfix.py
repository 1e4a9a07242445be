"""The released Diff-QuickFix procedure, for comparison: what it does, including what it gets wrong.

Four prefixes; keys from the last subject token to the last padding; values paired by distance from the subject, the last
position repeated where the destination runs out; values include the bias of ``out_proj`` although the bias stays; absolute
lambda 0.01; nothing preserved or protected. Only the arithmetic is better: a float64 solve instead of a float32 inverse.
"""

from collections.abc import Sequence

import torch

from editor.prompts import Pair, PromptBook, Removal
from editor.sites.clip_attention import Places
from editor.sites.key_value_pairs import Site
from editor.solver.least_squares import Statistics
from editor.solver.regression import Columns, joined

RIDGE = 0.01
BIAS = "self_attn.out_proj.bias"


def pair_columns(site: Site, pair: Pair) -> Columns:
    """The columns of one pair."""
    spoken = torch.arange(pair.last_subject, len(pair.concept.ids))
    meant = (pair.destination.eos - 1 + torch.arange(len(spoken))).clamp(max=len(pair.concept.ids) - 1)
    row = torch.zeros_like(spoken)
    keys = site.keys(pair.concept.ids[None], Places(row, spoken))
    values = site.keys(pair.destination.ids[None], Places(row, meant)) @ site.weight.T
    residuals = values + site.base.read(site.layer, BIAS) - keys @ site.weight.T
    return Columns(keys, torch.arange(len(keys)), residuals, torch.ones(len(keys), dtype=torch.float64), row)


def paper_statistics(site: Site, book: PromptBook, removals: Sequence[Removal]) -> tuple[Statistics, int]:
    """The ridge regression's sums, lambda included, and the number of columns."""
    columns = joined([pair_columns(site, pair) for removal in removals for pair in book.paper_pairs(removal)])
    statistics = columns.statistics()
    statistics.moment.diagonal().add_(RIDGE)
    return statistics, len(columns.keys)
