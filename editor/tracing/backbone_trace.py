"""Trace the sites of an image backbone at equal seeds and latents, by restoring them or by swapping their prompt.

Patched runs share their batch with the clean run that they take activations from.
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
from editor.tracing.patching import PatchFromClean, SwapPrompt
from editor.tracing.result import Trace, TraceSpec
from editor.tracing.score_store import CLEAN, SITE_OFFSET, Cell, ScoreMatrix, fill_scores, open_score_matrix
from editor.tracing.sites import BlockSite


class ImageReadOut(Protocol):
    """Scores runs of the image backbone."""

    @property
    def name(self) -> str:
        """Description for the result."""

    def batch_size(self, budget: MemoryBudget) -> int:
        """Return how many runs fit the budget in one batch."""

    def score(
        self, states: EncoderStates, samples: Sequence[Sample], intervention: Intervention | None = None
    ) -> Tensor:
        """Score each run, ``(rows,)``."""


@dataclass(frozen=True)
class BackboneRuns:
    """Clean and corrupted encoder states of every sample, ``(samples, ...)`` each."""

    clean: EncoderStates
    corrupted: EncoderStates
    samples: Sequence[Sample]
    sites: Sequence[BlockSite]

    def score_restored(self, cells: Sequence[Cell], read_out: ImageReadOut) -> Tensor:
        """Score the cells' runs with each site restored. The clean run of every sample joins the batch as the source."""
        sources = [(sample, CLEAN) for sample in dict.fromkeys(sample for sample, _ in cells)]
        rows = [*sources, *(cell for cell in cells if cell[1] != CLEAN)]
        row_of = {cell: row for row, cell in enumerate(rows)}
        intervention = PatchFromClean(
            [self.site_of(cell) for cell in rows], [row_of[sample, CLEAN] for sample, _ in rows]
        )
        scores = read_out.score(self.states(rows), [self.samples[sample] for sample, _ in rows], intervention)
        return scores[[row_of[cell] for cell in cells]]

    def score_prompt_swaps(self, cells: Sequence[Cell], read_out: ImageReadOut) -> Tensor:
        """Score the cells' runs where only the site's layers attend to the clean prompt, the others to the corrupted one."""
        samples = torch.tensor([sample for sample, _ in cells])
        intervention = SwapPrompt([self.site_of(cell) for cell in cells], self.clean[0][samples])
        return read_out.score(self.states(cells), [self.samples[sample] for sample, _ in cells], intervention)

    def site_of(self, cell: Cell) -> BlockSite | None:
        """Return the cell's site; None for clean and corrupted runs."""
        return None if cell[1] < SITE_OFFSET else self.sites[cell[1] - SITE_OFFSET]

    def states(self, cells: Sequence[Cell]) -> EncoderStates:
        """Return clean states for clean runs and corrupted states for the others."""
        samples = torch.tensor([sample for sample, _ in cells])
        is_clean = torch.tensor([column == CLEAN for _, column in cells])
        return tuple(
            torch.where(is_clean.view(-1, *[1] * (clean.ndim - 1)).to(clean.device), clean[samples], corrupted[samples])
            for clean, corrupted in zip(self.clean, self.corrupted, strict=True)
        )


def trace_blocks(
    clean: EncoderStates,
    corrupted: EncoderStates,
    samples: Sequence[Sample],
    spec: TraceSpec,
    read_out: ImageReadOut,
    budget: MemoryBudget,
    matrix: ScoreMatrix | None = None,
    progress: ProgressCallback = no_progress,
    *,
    direct: bool = False,
) -> Trace:
    """Score every block site of the specification in every sample.

    Args:
        clean: states of the clean runs, ``(samples, ...)``.
        corrupted: states of the corrupted runs, likewise.
        matrix: scores of an earlier, unfinished run to continue.
        direct: measure the direct effect of cross-attention layers: only the site's layers attend to the clean prompt, and
            nothing is restored. If the clean prompt is one about another value, the effect is the share of the change to that
            prompt which these layers alone cause.
    """
    runs = BackboneRuns(clean, corrupted, samples, [site for site in spec.sites if isinstance(site, BlockSite)])
    matrix = matrix or open_score_matrix(len(samples), len(runs.sites))
    columns = SITE_OFFSET + len(runs.sites)
    cells = list(product(range(len(samples)), range(CLEAN, columns)))
    score = runs.score_prompt_swaps if direct else runs.score_restored
    # Clean runs that join a batch take rows, too.
    batch_size = max(1, (read_out.batch_size(budget) - 2) * columns // (columns + 1))
    fill_scores(matrix, cells, batch_size, lambda batch: score(batch, read_out), progress)
    return Trace(spec, matrix.scores)
