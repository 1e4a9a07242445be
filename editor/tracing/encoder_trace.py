"""A trace of text encoder sites: clean, corrupted and restored runs, scored by a read-out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import EncoderStates
from editor.generation.memory_budget import MemoryBudget
from editor.io.progress import ProgressCallback, SubProgress, no_progress
from editor.tracing.corruption import Sample, index
from editor.tracing.patched_runs import TextGrid, run, text_grid
from editor.tracing.readouts import ReadOut
from editor.tracing.result import Question, Trace
from editor.tracing.score_store import CLEAN, CORRUPTED, OFFSET, Cell, Values, measure, open_values
from editor.tracing.sites import TextSite
from editor.tracing.traced_prompts import Place, Traced

Corrupt = Callable[[CLIPTextRunner, Traced, Sequence[Sample]], Tensor]
"""Corrupted embeddings ``(samples, context, width)``."""


@dataclass(frozen=True)
class TextModel:
    """The text encoders that are traced together, each with the prompts as its own tokenizer has them."""

    towers: tuple[CLIPTextRunner, ...]
    prompts: tuple[Traced, ...]
    places: Sequence[Place]
    """Over the prompts; token positions are the same for every encoder."""
    corrupt: Corrupt

    def length(self, whole: bool) -> int:
        """Positions to compute: without padding unless the ``whole`` is read."""
        prompts = self.prompts[0]
        return prompts.ids.shape[1] if whole else int(prompts.ends.max()) + 1

    def grids(self, samples: Sequence[Sample], length: int) -> tuple[TextGrid, ...]:
        """The clean and corrupted runs."""
        return tuple(
            text_grid(tower, p.ids, p.spans, self.corrupt(tower, p, samples), index(samples), self.places, length)
            for tower, p in zip(self.towers, self.prompts, strict=True)
        )

    def clean(self) -> EncoderStates:
        """The clean states of all prompts, padding included."""
        pairs = zip(self.towers, self.prompts, strict=True)
        return tuple(run(tower, tower.embed(prompts.ids)).states for tower, prompts in pairs)


@dataclass(frozen=True)
class Slab:
    """As many samples as fit the memory, with their runs."""

    grids: tuple[TextGrid, ...]
    samples: Sequence[Sample]
    first: int
    """The first one's number among all samples, which cells count from."""
    sites: Sequence[TextSite]
    places: Sequence[Place]

    def site(self, column: int) -> TextSite:
        """The site that a column is about."""
        return self.sites[column - OFFSET]

    def sample(self, cell: Cell) -> Sample:
        """The sample that a cell is about."""
        return self.samples[cell[0] - self.first]

    def states(self, cells: Sequence[Cell]) -> EncoderStates:
        """What the cells' runs hand on, for each encoder."""
        return tuple(self.of_tower(tower, cells) for tower in range(len(self.grids)))

    def of_tower(self, tower: int, cells: Sequence[Cell]) -> Tensor:
        """One encoder's states: a site of another encoder leaves this one corrupted."""
        grid, rows = self.grids[tower], torch.tensor([row - self.first for row, _ in cells])
        states = grid.corrupted.states[rows]
        clean = torch.tensor([column == CLEAN for _, column in cells])
        states[clean] = grid.clean.states[grid.prompt_of[rows[clean]]]
        own = [i for i, (_, column) in enumerate(cells) if column >= OFFSET and self.site(column).tower == tower]
        if own:
            states[own] = grid.restored([(int(rows[i]), self.site(cells[i][1])) for i in own])
        return states

    def runs(self) -> list[Cell]:
        """The clean and the corrupted run of every sample."""
        return [(self.first + i, column) for i, column in product(range(len(self.samples)), (CLEAN, CORRUPTED))]

    def cells(self) -> list[Cell]:
        """Every sample and site whose place the sample's prompt has."""
        numbers, columns = range(self.first, self.first + len(self.samples)), range(OFFSET, OFFSET + len(self.sites))
        return [cell for cell in product(numbers, columns) if self.exists(cell)]

    def exists(self, cell: Cell) -> bool:
        """Whether the sample's prompt has the place, computed or not."""
        return bool(self.places[self.site(cell[1]).place].mask[self.sample(cell).prompt].any())

    def place(self, cell: Cell) -> Tensor:
        """``(positions,)`` bool: what the cell restores of the positions that are computed."""
        grid, site = self.grids[self.site(cell[1]).tower], self.site(cell[1])
        return grid.places[site.place, grid.prompt_of[cell[0] - self.first]]

    def start(self, cell: Cell) -> tuple[int, int, int, int]:
        """Encoder, position and layer of the first change; and the sample."""
        site = self.site(cell[1])
        return site.tower, int(self.place(cell).int().argmax()), site.layer, cell[0]

    def moves(self, cell: Cell) -> bool:
        """False where the place lies before the corruption or past what is read: there the corrupted run stays as it is."""
        grid = self.grids[self.site(cell[1]).tower]
        first = int(grid.first_corrupted[grid.prompt_of[cell[0] - self.first]])
        return bool(self.place(cell)[first:].any())


def trace_text(
    model: TextModel,
    samples: Sequence[Sample],
    question: Question,
    read_out: ReadOut,
    budget: MemoryBudget,
    values: Values | None = None,
    tick: ProgressCallback = no_progress,
) -> Trace:
    """Score every site of the question in every sample.

    Args:
        values: where earlier batches were kept, to go on from there.
        tick: called after every batch; may raise to stop.
    """
    sites = [site for site in question.sites if isinstance(site, TextSite)]
    values = values or open_values(len(samples), len(sites))
    length = model.length(read_out.whole)
    at_once, total = budget.max_samples(model.towers, length), len(samples)
    rows = min(budget.text_batch_size(model.towers, length), read_out.rows(budget))
    for first in range(0, total, at_once):
        part = samples[first : first + at_once]
        slab = Slab(model.grids(part, length), part, first, sites, model.places)
        measure_slab(slab, values, read_out, rows, SubProgress(tick, first / total, len(part) / total))
    return Trace(question, values.scores)


def measure_slab(slab: Slab, values: Values, read_out: ReadOut, rows: int, tick: ProgressCallback) -> None:
    """Measure what needs a run; where restoring moves nothing, the corrupted run's score holds."""
    cells = slab.cells()
    moving = sorted(filter(slab.moves, cells), key=slab.start)

    def score(part: Sequence[Cell]) -> Tensor:
        return read_out.scores(slab.states(part), [slab.sample(cell) for cell in part])

    measure(values, [*slab.runs(), *moving], rows, score, tick)
    for row, column in set(cells) - set(moving):
        values.scores[row, column] = values.scores[row, CORRUPTED]
