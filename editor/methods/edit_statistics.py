"""What published methods compute from the prompts of an edit, which are the same for all of them."""

from collections.abc import Callable, Iterator
from functools import reduce
from operator import add

from editor.io.progress import track
from editor.methods.layer_edit import REMOVAL_BATCH, LayerEdit, pairs_by_removal
from editor.solver.least_squares import Statistics
from editor.solver.regression import RegressionRows

NULL_EIGENVALUE = 0.1
"""Largest eigenvalue of the retained keys' second moment, relative to the mean one, that counts as zero."""


def row_batches(edit: LayerEdit) -> Iterator[RegressionRows]:
    """Yield the rows of all removals, some removals at a time, with residuals in the space of the values."""
    removals = edit.removals
    for batch in track([removals[start : start + REMOVAL_BATCH] for start in range(0, len(removals), REMOVAL_BATCH)]):
        yield edit.rows_of(list(pairs_by_removal(batch, edit.builder.edit_pairs)))


def sum_rows(
    edit: LayerEdit, adapt: Callable[[RegressionRows], RegressionRows] = lambda rows: rows
) -> tuple[Statistics, int]:
    """Return the statistics of all removals and the number of their rows.

    Args:
        edit: the edit.
        adapt: changes rows before they are summed, such as their residuals.
    """
    parts = [(adapt(rows).statistics(), len(rows.key_index)) for rows in row_batches(edit)]
    return reduce(add, (statistics for statistics, _ in parts)), sum(count for _, count in parts)


def key_scale(edit: LayerEdit) -> float:
    """Return the mean square of the empty prompt's keys.

    The published constants are for final states of CLIP, whose entries have a mean square of about one. Multiplied by this
    scale they mean the same at every site.
    """
    return float(edit.null_keys.square().mean())
