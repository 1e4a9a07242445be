"""Collateral foreseen before an edit is applied: what it will do to any prompt, worst first, and to each concept.

At the edited layer the change is exact, for the layer's keys don't change with its weight: a thousand prompts take less
than a second. How much of what a prompt asks for gets lost by it is a forecast: a curve, fitted to images, of how far the
encoder's last states move at EOS and padding, which is where a UNet was seen to listen most (docs/results.md).
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from api_schemas.report import ForeseenChange, ForeseenRemoval
from editor.checkpoints import TextEncoder
from editor.methods.layer_edit import Task
from editor.prompts import PromptBook, Tokenised
from editor.sites.key_value_pairs import Site, retained_columns
from editor.sites.lazy_clip import Tower
from editor.solver.least_squares import cholesky
from editor.solver.normal_equations import Problem
from editor.solver.preservation_search import Stress

BATCH = 128
"""Prompts that go through the encoder at a time."""
MIDDLE, STEEPNESS = 0.603, 8.4
"""Relative movement of the last states at which half of the prompts lose their object, and how sharp that is."""


def foresee(
    source: TextEncoder, book: PromptBook, deltas: Mapping[int, Tensor], texts: Sequence[str]
) -> list[ForeseenChange]:
    """What the updates ``deltas`` (layer -> dW) of an encoder do to prompts, worst first."""
    prompts = book.tokenise_all(texts)
    changes = torch.stack([layer_change(source, layer, deltas, prompts) for layer in deltas]).amax(0)
    moves = movement(source, deltas, prompts)
    foreseen = [
        ForeseenChange(prompt=text, change=change, moved=states, drop=predicted_drop(states))
        for text, change, states in zip(texts, changes.tolist(), moves.tolist(), strict=True)
    ]
    return sorted(foreseen, key=lambda one: -(one.moved or 0.0))


def layer_change(source: TextEncoder, layer: int, deltas: Mapping[int, Tensor], prompts: Sequence[Tokenised]) -> Tensor:
    """Relative change of a layer's attention output by its own update, (prompts,)."""
    base = Tower(source)
    earlier = {index: delta for index, delta in deltas.items() if index < layer}
    site = Site(base, base.edited(earlier), layer)
    kept = retained_columns(site, prompts)
    return kept.norms(kept.keys @ deltas[layer].T) / kept.norms(kept.keys @ site.weight.T)


def movement(source: TextEncoder, deltas: Mapping[int, Tensor], prompts: Sequence[Tokenised]) -> Tensor:
    """Relative movement of the last states at EOS and padding, (prompts,)."""
    base = Tower(source)
    parts = (prompts[start : start + BATCH] for start in range(0, len(prompts), BATCH))
    return torch.cat([moved(base, deltas, part) for part in parts])


def moved(base: Tower, deltas: Mapping[int, Tensor], prompts: Sequence[Tokenised]) -> Tensor:
    """:func:`movement` of some prompts."""
    ids = torch.stack([prompt.ids for prompt in prompts])
    before, after = base.final(ids), base.edited(deltas).final(ids)
    ends = torch.tensor([prompt.eos for prompt in prompts])
    behind = (torch.arange(ids.shape[1]) >= ends[:, None])[:, :, None]
    share: Tensor = ((after - before) * behind).flatten(1).norm(dim=1) / (before * behind).flatten(1).norm(dim=1)
    return share


def ranked(texts: Sequence[str], changes: Tensor) -> list[ForeseenChange]:
    """Prompts with their changes at the edited layer (n,), worst first."""
    pairs = sorted(zip(texts, changes.tolist(), strict=True), key=lambda pair: -pair[1])
    return [ForeseenChange(prompt=text, change=change) for text, change in pairs]


def predicted_drop(moved: float) -> float:
    """Chance that a prompt whose last states move so far, relative to their norm, loses what it asks for."""
    return 1 / (1 + math.exp(STEEPNESS * (MIDDLE - moved)))


def feasibility(
    task: Task, problem: Problem, preservation: float, update: tuple[Tensor, Tensor], stress: Stress
) -> list[ForeseenRemoval]:
    """How far each concept goes, worst first.

    A single key k of a removal leaves 1 / (1 + q) of its residual, q = k^T (preservation C + ridge)^-1 k: a concept whose
    keys lie in the bulk of what is kept can't be removed without moving that. ``left`` is what the update ``(up, down)``
    really leaves, with all removals together.
    """
    owners, columns = task.samples()
    factor = cholesky(problem.system(preservation) - problem.removal.moment)
    own = torch.linalg.solve_triangular(factor, problem.directions.places(columns.keys).T, upper=False)
    novelty = own.square().sum(0)[columns.which]
    up, down = update
    asked = columns.residuals.square().sum(1) * columns.weights
    left = columns.left(lambda keys: keys @ down.T @ up.T) * columns.weights
    found = []
    for removal in task.told:
        about = torch.tensor([owner == removal for owner in owners])[columns.pairs]
        share = asked[about] / asked[about].sum()
        found.append(
            ForeseenRemoval(
                concept=removal.concept.name,
                kind=removal.concept.kind,
                weight=stress.get(removal, 1.0),
                leak=float((share / (1 + novelty[about])).sum()),
                left=float(left[about].sum() / asked[about].sum()),
            )
        )
    return sorted(found, key=lambda one: -one.left)
