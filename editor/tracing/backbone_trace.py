"""A trace of an image backbone's sites, and its direct-effect variant, at equal seed and latent.

Restored runs share their batch with the clean run that they take activations from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Protocol

import torch
from torch import Tensor

from editor.generation.config import EncoderStates
from editor.generation.denoiser import Intervention
from editor.generation.memory_budget import MemoryBudget
from editor.io.progress import ProgressCallback, no_progress
from editor.tracing.corruption import Sample
from editor.tracing.patching import Reading, Restoring
from editor.tracing.result import Question, Trace
from editor.tracing.score_store import CLEAN, OFFSET, Cell, Values, measure, open_values
from editor.tracing.sites import BlockSite


class ImageReadOut(Protocol):
    """Scores runs of the image backbone."""

    @property
    def name(self) -> str:
        """What was read, in words."""

    def rows(self, budget: MemoryBudget) -> int:
        """How many runs it takes at once."""

    def scores(self, states: EncoderStates, samples: Sequence[Sample], edits: Intervention | None = None) -> Tensor:
        """``(rows,)``: one score for each run."""


@dataclass(frozen=True)
class Runs:
    """Clean and corrupted states of every sample; ``(samples, ...)`` each."""

    clean: EncoderStates
    corrupted: EncoderStates
    samples: Sequence[Sample]
    sites: Sequence[BlockSite]

    def restored(self, cells: Sequence[Cell], read_out: ImageReadOut) -> Tensor:
        """Scores of the cells' runs; every sample's clean run rides along as the source."""
        sources = [(sample, CLEAN) for sample in dict.fromkeys(sample for sample, _ in cells)]
        rows = [*sources, *(cell for cell in cells if cell[1] != CLEAN)]
        places = {cell: row for row, cell in enumerate(rows)}
        edits = Restoring(
            [None if column < OFFSET else self.sites[column - OFFSET] for _, column in rows],
            [places[sample, CLEAN] for sample, _ in rows],
        )
        scores = read_out.scores(self.states(rows), [self.samples[sample] for sample, _ in rows], edits)
        return scores[[places[cell] for cell in cells]]

    def reading(self, cells: Sequence[Cell], read_out: ImageReadOut) -> Tensor:
        """Scores of the cells' runs, each at its site's layers reading the clean prompt, else the corrupted one."""
        chosen = torch.tensor([sample for sample, _ in cells])
        sites = [None if column < OFFSET else self.sites[column - OFFSET] for _, column in cells]
        edits = Reading(sites, self.clean[0][chosen])
        return read_out.scores(self.states(cells), [self.samples[sample] for sample, _ in cells], edits)

    def states(self, cells: Sequence[Cell]) -> EncoderStates:
        """Clean states for clean runs, else corrupted ones."""
        chosen = torch.tensor([sample for sample, _ in cells])
        clean = torch.tensor([column == CLEAN for _, column in cells])
        return tuple(
            torch.where(clean.view(-1, *[1] * (one.ndim - 1)), one[chosen], other[chosen])
            for one, other in zip(self.clean, self.corrupted, strict=True)
        )


def trace_blocks(
    clean: EncoderStates,
    corrupted: EncoderStates,
    samples: Sequence[Sample],
    question: Question,
    read_out: ImageReadOut,
    budget: MemoryBudget,
    values: Values | None = None,
    tick: ProgressCallback = no_progress,
    *,
    direct: bool = False,
) -> Trace:
    """Score every block site of the question in every sample.

    Args:
        clean: states ``(samples, ...)`` of the clean runs; ``corrupted`` likewise.
        direct: sites are cross-attention layers which alone read the clean prompt, in place of being restored. With another
            prompt as the clean one, a site's effect is the share of the way to that prompt that these layers alone go.
    """
    runs = Runs(clean, corrupted, samples, [site for site in question.sites if isinstance(site, BlockSite)])
    values = values or open_values(len(samples), len(runs.sites))
    cells = list(product(range(len(samples)), range(CLEAN, OFFSET + len(runs.sites))))
    score, columns = runs.reading if direct else runs.restored, OFFSET + len(runs.sites)
    batch = max(1, (read_out.rows(budget) - 2) * columns // (columns + 1))  # clean runs that ride along take rows, too
    measure(values, cells, batch, lambda part: score(part, read_out), tick)
    return Trace(question, values.scores)
