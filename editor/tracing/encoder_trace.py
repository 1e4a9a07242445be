"""Trace text encoder sites: score clean, corrupted and patched runs with a read-out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor

from editor.generation.clip_runner import CLIPTextRunner
from editor.generation.config import EncoderStates
from editor.generation.memory_budget import MemoryBudget
from editor.io.progress import ProgressCallback, SubProgress, no_progress
from editor.tracing.corruption import Sample, prompt_indices
from editor.tracing.patched_runs import TextPatcher, make_text_patcher, run_with_cache
from editor.tracing.readouts import ReadOut
from editor.tracing.result import Trace, TraceSpec
from editor.tracing.score_store import (
    CLEAN,
    CORRUPTED,
    SITE_OFFSET,
    Cell,
    ScoreMatrix,
    fill_scores,
    open_score_matrix,
)
from editor.tracing.sites import TextSite
from editor.tracing.traced_prompts import TokenGroup, TracedPrompts

CorruptFn = Callable[[CLIPTextRunner, TracedPrompts, Sequence[Sample]], Tensor]
"""Returns corrupted embeddings ``(samples, context, width)``."""


@dataclass(frozen=True)
class TracedEncoders:
    """The text encoders of a model, and the prompts as the tokenizer of each encoder splits them."""

    encoders: tuple[CLIPTextRunner, ...]
    prompts: tuple[TracedPrompts, ...]
    groups: Sequence[TokenGroup]
    """Groups of token positions, which are the same for every encoder."""
    corrupt: CorruptFn

    def length(self, *, with_padding: bool) -> int:
        """Return the number of positions to compute."""
        prompts = self.prompts[0]
        return prompts.ids.shape[1] if with_padding else int(prompts.eos_positions.max()) + 1

    def make_patchers(self, samples: Sequence[Sample], length: int) -> tuple[TextPatcher, ...]:
        """Compute the clean and corrupted runs of each encoder."""
        return tuple(
            make_text_patcher(
                encoder,
                prompts.ids,
                prompts.spans,
                self.corrupt(encoder, prompts, samples),
                prompt_indices(samples),
                self.groups,
                length,
            )
            for encoder, prompts in zip(self.encoders, self.prompts, strict=True)
        )

    def clean_states(self) -> EncoderStates:
        """Return the clean states of all prompts, padding included."""
        pairs = zip(self.encoders, self.prompts, strict=True)
        return tuple(run_with_cache(encoder, encoder.embed(prompts.ids)).states for encoder, prompts in pairs)


@dataclass(frozen=True)
class TraceBatch:
    """Samples that fit the memory together, with their clean and corrupted runs."""

    patchers: tuple[TextPatcher, ...]
    samples: Sequence[Sample]
    first: int
    """Index of the first of them among all samples; cells count from the first sample of all."""
    sites: Sequence[TextSite]
    groups: Sequence[TokenGroup]

    def site(self, cell: Cell) -> TextSite:
        """Return the cell's site."""
        return self.sites[cell[1] - SITE_OFFSET]

    def sample(self, cell: Cell) -> Sample:
        """Return the cell's sample."""
        return self.samples[cell[0] - self.first]

    def states(self, cells: Sequence[Cell]) -> EncoderStates:
        """Return the output states of the cells' runs for each encoder."""
        return tuple(self.encoder_states(encoder, cells) for encoder in range(len(self.patchers)))

    def encoder_states(self, encoder: int, cells: Sequence[Cell]) -> Tensor:
        """Return one encoder's output states. A site of another encoder leaves this one corrupted."""
        patcher, rows = self.patchers[encoder], torch.tensor([row - self.first for row, _ in cells])
        states = patcher.corrupted.states[rows]
        clean = torch.tensor([column == CLEAN for _, column in cells])
        states[clean] = patcher.clean.states[patcher.prompt_of[rows[clean]]]
        own = [i for i, cell in enumerate(cells) if cell[1] >= SITE_OFFSET and self.site(cell).tower == encoder]
        if own:
            states[own] = patcher.patch([(int(rows[i]), self.site(cells[i])) for i in own])
        return states

    def baseline_cells(self) -> list[Cell]:
        """Return the cells of the clean and the corrupted run of every sample."""
        return [(self.first + i, column) for i, column in product(range(len(self.samples)), (CLEAN, CORRUPTED))]

    def site_cells(self) -> list[Cell]:
        """Return the cells of every sample and site, except for token groups that the sample's prompt lacks."""
        rows = range(self.first, self.first + len(self.samples))
        columns = range(SITE_OFFSET, SITE_OFFSET + len(self.sites))
        return [cell for cell in product(rows, columns) if self.prompt_has_token_group(cell)]

    def prompt_has_token_group(self, cell: Cell) -> bool:
        """Return whether the sample's prompt has the site's token group, be it computed or not."""
        return bool(self.groups[self.site(cell).place].mask[self.sample(cell).prompt].any())

    def patch_mask(self, cell: Cell) -> Tensor:
        """Return the computed positions that the cell restores, ``(positions,)`` bool."""
        site = self.site(cell)
        patcher = self.patchers[site.tower]
        return patcher.group_masks[site.place, patcher.prompt_of[cell[0] - self.first]]

    def sort_key(self, cell: Cell) -> tuple[int, int, int, int]:
        """Return encoder, position and layer of the first change, and the sample."""
        site = self.site(cell)
        return site.tower, int(self.patch_mask(cell).int().argmax()), site.layer, cell[0]

    def changes_run(self, cell: Cell) -> bool:
        """Return False if the group lies before the corruption or past the computed positions: restoring has no effect."""
        patcher = self.patchers[self.site(cell).tower]
        first = int(patcher.first_corrupted[patcher.prompt_of[cell[0] - self.first]])
        return bool(self.patch_mask(cell)[first:].any())


def trace_text(
    encoders: TracedEncoders,
    samples: Sequence[Sample],
    spec: TraceSpec,
    read_out: ReadOut,
    budget: MemoryBudget,
    matrix: ScoreMatrix | None = None,
    progress: ProgressCallback = no_progress,
) -> Trace:
    """Score every text site of the specification in every sample.

    Args:
        matrix: scores of an earlier, unfinished run to continue.
        progress: called after every batch; may raise to stop.
    """
    sites = [site for site in spec.sites if isinstance(site, TextSite)]
    matrix = matrix or open_score_matrix(len(samples), len(sites))
    length = encoders.length(with_padding=read_out.reads_padding)
    samples_per_batch, total = budget.max_samples(encoders.encoders, length), len(samples)
    runs_per_batch = min(budget.text_batch_size(encoders.encoders, length), read_out.batch_size(budget))
    for first in range(0, total, samples_per_batch):
        part = samples[first : first + samples_per_batch]
        batch = TraceBatch(encoders.make_patchers(part, length), part, first, sites, encoders.groups)
        score_batch(batch, matrix, read_out, runs_per_batch, SubProgress(progress, first / total, len(part) / total))
    return Trace(spec, matrix.scores)


def score_batch(
    batch: TraceBatch, matrix: ScoreMatrix, read_out: ReadOut, runs_per_batch: int, progress: ProgressCallback
) -> None:
    """Score the runs that restoring changes; the others have the corrupted run's score."""
    cells = batch.site_cells()
    changed = sorted(filter(batch.changes_run, cells), key=batch.sort_key)

    def score(part: Sequence[Cell]) -> Tensor:
        return read_out.score(batch.states(part), [batch.sample(cell) for cell in part])

    fill_scores(matrix, [*batch.baseline_cells(), *changed], runs_per_batch, score, progress)
    for row, column in set(cells) - set(changed):
        matrix.scores[row, column] = matrix.scores[row, CORRUPTED]
