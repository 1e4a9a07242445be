"""Collateral foreseen before an edit is applied: what it will do to any prompt, worst first, and to each concept.

At the edited layer the change is exact, for the layer's keys don't change with its weight: a thousand prompts take less
than a second. How much of what a prompt asks for gets lost by it is a forecast, by a curve that was fitted to images.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from api_schemas.report import ForeseenChange, ForeseenRemoval
from editor.prompts import PromptBook
from editor.prompts.contexts import evenly
from editor.quickfix.columns import Site, pair_columns, retained_columns
from editor.quickfix.problem import Problem
from editor.quickfix.search import prompt_norms
from editor.quickfix.solve import cholesky
from editor.quickfix.task import Task

PAIRS = 4
"""Prompts of each removal that its feasibility is told from."""
MIDDLE, STEEPNESS = 0.45, 14.0
"""Relative change at which half of the prompts lose their object, and how sharp that is (docs/results.md)."""


def foresee(site: Site, delta: Tensor, book: PromptBook, texts: Sequence[str]) -> list[ForeseenChange]:
    """What an update ``delta`` (d, d) of a site does to prompts, worst first."""
    kept = retained_columns(site, book.tokenise_all(texts))
    return ranked(texts, prompt_norms(kept.keys @ delta.T, kept) / prompt_norms(kept.keys @ site.weight.T, kept))


def ranked(texts: Sequence[str], changes: Tensor) -> list[ForeseenChange]:
    """Prompts with their changes (n,), worst first."""
    pairs = sorted(zip(texts, changes.tolist(), strict=True), key=lambda pair: -pair[1])
    return [ForeseenChange(prompt=text, change=change, drop=predicted_drop(change)) for text, change in pairs]


def predicted_drop(change: float) -> float:
    """Chance that a prompt whose attention output changes so much, relative to its norm, loses what it asks for."""
    return 1 / (1 + math.exp(STEEPNESS * (MIDDLE - change)))


def feasibility(task: Task, problem: Problem, preservation: float, delta: Tensor) -> list[ForeseenRemoval]:
    """How far each concept goes, worst first.

    A single key k of a removal leaves 1 / (1 + q) of its residual, q = k^T (preservation C + ridge)^-1 k: a concept whose
    keys lie in the bulk of what is kept can't be removed without moving that. ``left`` is what the update really leaves,
    with all removals together.
    """
    pairs = [(name, pair) for name in task.some for pair in evenly(task.book.edit_pairs(name), PAIRS)]
    columns = pair_columns(task.site, [pair for _, pair in pairs], task.method.aim)
    inside = columns.keys @ problem.inputs
    factor = cholesky(problem.system(preservation) - problem.removal.moment)
    novelty = torch.linalg.solve_triangular(factor, inside.T, upper=False).square().sum(0)
    asked = columns.residuals.square().sum(1) * columns.weights
    left = (columns.residuals - columns.keys @ delta.T).square().sum(1) * columns.weights
    found = []
    for removal in task.some:
        own = torch.tensor([name is removal for name, _ in pairs])[columns.pairs]
        share = asked[own] / asked[own].sum()
        found.append(
            ForeseenRemoval(
                concept=removal.concept.name,
                kind=removal.concept.kind,
                leak=float((share / (1 + novelty[own])).sum()),
                left=float(left[own].sum() / asked[own].sum()),
            )
        )
    return sorted(found, key=lambda one: -one.left)
