"""An edit from request to tensor update."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from api_schemas.report import SolveRecord, TradeOffPoint
from editor.checkpoints import OUT_PROJ, TextEncoder
from editor.prompts import PromptBook, Removal
from editor.quickfix.keys import FirstLayer, open_first_layer
from editor.quickfix.paper import paper_solve, paper_statistics
from editor.quickfix.problem import null_prompt_keys, pose
from editor.quickfix.search import held_out, search
from editor.quickfix.solve import Solution
from editor.quickfix.update import TensorUpdate

Preset = Literal["default", "paper"]
RANK_TOLERANCE = 1e-12
"""Singular values of the update below this share of the largest are rounding."""


@dataclass(frozen=True)
class Solved:
    """An update with its place on the trade-off curve."""

    solution: Solution
    columns: int
    preservation: float
    curve: list[TradeOffPoint]
    point: TradeOffPoint
    seconds: float


def edit(
    source: TextEncoder,
    book: PromptBook,
    removals: Sequence[Removal],
    preset: Preset = "default",
    preservation: float | Literal["auto"] = "auto",
) -> tuple[TensorUpdate, SolveRecord]:
    """Remove all ``removals`` at once from the first self-attention layer's ``out_proj``.

    Args:
        source: the text encoder, opened lazily.
        book: its prompts.
        preset: ``paper`` follows the released procedure; ``preservation`` does not apply to it.
        preservation: weight of the retain prompts; ``auto`` searches for it on held-out prompts.

    Returns:
        The exact low-rank update and the record of how it was found.
    """
    layer = open_first_layer(source)
    solved = (
        solve_paper(layer, book, removals) if preset == "paper" else solve_default(layer, book, removals, preservation)
    )
    up, down = low_rank(solved.solution.delta)
    name = OUT_PROJ.format(layer=0)
    update = TensorUpdate(
        source.component, name, source.stored_name(name), source.file_of(name), layer.stored, up, down
    )
    record = SolveRecord(
        preset=preset,
        component="text_encoder",
        tensor=name,
        layer=0,
        columns=solved.columns,
        rank=up.shape[1],
        preservation=solved.preservation,
        ridge=solved.solution.ridge,
        condition=solved.solution.condition,
        relative_change=float(solved.solution.delta.norm() / layer.weight.norm()),
        null_prompt_drift=null_drift(layer, book, solved.solution.delta),
        predicted_retain_p95=solved.point.predicted_retain_p95,
        seconds=solved.seconds,
        trade_off=solved.curve,
    )
    return update, record


def solve_default(
    layer: FirstLayer, book: PromptBook, removals: Sequence[Removal], preservation: float | Literal["auto"]
) -> Solved:
    """Preserve and protect; search for the weight unless it is given."""
    problem = pose(layer, book, removals)
    prompts = held_out(layer, book, removals)
    best, curve = search(problem, prompts, removals)
    weight = best.preservation if preservation == "auto" else preservation
    solution, seconds = timed(lambda: problem.solve(weight))
    return Solved(solution, problem.columns, weight, curve, prompts.point(weight, solution.delta), seconds)


def solve_paper(layer: FirstLayer, book: PromptBook, removals: Sequence[Removal]) -> Solved:
    """The released procedure, measured on the same held-out prompts."""
    removal, columns = paper_statistics(layer, book, removals)
    solution, seconds = timed(lambda: paper_solve(removal))
    prompts = held_out(layer, book, removals)
    return Solved(solution, columns, 0.0, [], prompts.point(0.0, solution.delta), seconds)


def timed(solve: Callable[[], Solution]) -> tuple[Solution, float]:
    """A solution and the wall time it took, in seconds."""
    start = time.perf_counter()
    return solve(), time.perf_counter() - start


def low_rank(delta: Tensor) -> tuple[Tensor, Tensor]:
    """Balanced factors with ``up @ down == delta`` to rounding, of the smallest such rank."""
    left, values, right = torch.linalg.svd(delta, full_matrices=False)
    rank = int((values > RANK_TOLERANCE * values[0]).sum())
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).contiguous(), (root[:, None] * right[:rank]).contiguous()


def null_drift(layer: FirstLayer, book: PromptBook, delta: Tensor) -> float:
    """Largest absolute change of the empty prompt's attention output; BOS is part of it."""
    return float((null_prompt_keys(layer, book) @ delta.T).abs().max())
