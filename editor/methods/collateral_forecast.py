"""Forecast the effect of an edit before it is applied: on any prompt, worst first, and on each concept.

At the edited layer the change is exact, because the layer's keys do not depend on its weight: a thousand prompts take less
than a second. How likely a prompt is to lose its subject is a forecast: a curve, fitted to images, of how far the encoder's
final states move at EOS and padding, the positions to which a UNet was measured to attend most (see the results page).
"""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from api_schemas.report import ForeseenChange, ForeseenRemoval
from editor.checkpoints import TextEncoder
from editor.methods.layer_edit import LayerEdit, RemovalWeights
from editor.prompts import PromptBuilder, TokenizedPrompt
from editor.sites.key_value_pairs import Site, retained_keys
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.solver.least_squares import cholesky
from editor.solver.normal_equations import NormalEquations

PROMPT_BATCH = 128
"""Prompts that the encoder processes at a time."""
DROP_MIDPOINT, DROP_STEEPNESS = 0.603, 8.4
"""Relative movement of the final states at which half of the prompts lose their object, and the slope of that curve."""


def forecast_collateral(
    source: TextEncoder, builder: PromptBuilder, deltas: Mapping[int, Tensor], texts: Sequence[str]
) -> list[ForeseenChange]:
    """Forecast the effect of updates on prompts, worst first.

    Args:
        source: the text encoder.
        builder: builds its prompts.
        deltas: layer -> dW.
        texts: the prompts.
    """
    prompts = builder.tokenize_all(texts)
    changes = torch.stack([output_change(source, layer, deltas, prompts) for layer in deltas]).amax(0)
    movements = final_state_movement(source, deltas, prompts)
    forecast = [
        ForeseenChange(prompt=text, change=change, moved=movement, drop=drop_probability(movement))
        for text, change, movement in zip(texts, changes.tolist(), movements.tolist(), strict=True)
    ]
    return sorted(forecast, key=lambda one: -(one.moved or 0.0))


def output_change(
    source: TextEncoder, layer: int, deltas: Mapping[int, Tensor], prompts: Sequence[TokenizedPrompt]
) -> Tensor:
    """Return the relative change of a layer's attention output by its own update, (prompts,)."""
    model = LazyCLIPTextModel(source)
    earlier = {index: delta for index, delta in deltas.items() if index < layer}
    site = Site(model, model.with_updates(earlier), layer)
    retained = retained_keys(site, prompts)
    changes, outputs = retained.keys @ deltas[layer].T, retained.keys @ site.weight.T
    return retained.prompt_norms(changes) / retained.prompt_norms(outputs)


def final_state_movement(
    source: TextEncoder, deltas: Mapping[int, Tensor], prompts: Sequence[TokenizedPrompt]
) -> Tensor:
    """Return the relative movement of the final states at EOS and padding, (prompts,)."""
    model = LazyCLIPTextModel(source)
    batches = (prompts[start : start + PROMPT_BATCH] for start in range(0, len(prompts), PROMPT_BATCH))
    return torch.cat([_batch_movement(model, deltas, batch) for batch in batches])


def _batch_movement(
    model: LazyCLIPTextModel, deltas: Mapping[int, Tensor], prompts: Sequence[TokenizedPrompt]
) -> Tensor:
    ids = torch.stack([prompt.ids for prompt in prompts])
    before, after = model.final_states(ids), model.with_updates(deltas).final_states(ids)
    ends = torch.tensor([prompt.eos for prompt in prompts])
    mask = (torch.arange(ids.shape[1]) >= ends[:, None])[:, :, None]
    movement: Tensor = ((after - before) * mask).flatten(1).norm(dim=1) / (before * mask).flatten(1).norm(dim=1)
    return movement


def rank_changes(texts: Sequence[str], changes: Tensor) -> list[ForeseenChange]:
    """Return prompts with their relative changes at the edited layer (n,), worst first."""
    ranked = sorted(zip(texts, changes.tolist(), strict=True), key=lambda pair: -pair[1])
    return [ForeseenChange(prompt=text, change=change) for text, change in ranked]


def drop_probability(movement: float) -> float:
    """Return the probability that a prompt loses its object, from the relative movement of its final states."""
    return 1 / (1 + math.exp(DROP_STEEPNESS * (DROP_MIDPOINT - movement)))


def forecast_feasibility(
    edit: LayerEdit,
    equations: NormalEquations,
    preservation: float,
    update: tuple[Tensor, Tensor],
    weights: RemovalWeights,
) -> list[ForeseenRemoval]:
    """Forecast how completely each concept is removed, worst first.

    A single key k of a removal leaves 1 / (1 + q) of its residual, with q = k^T (preservation C + ridge)^-1 k: a concept
    whose keys are similar to the retained ones cannot be removed without changing those. ``leak`` is that bound; ``left`` is
    the share that remains with the update ``(up, down)`` of all removals together.
    """
    owners, rows = edit.feasibility_rows()
    factor = cholesky(equations.system(preservation) - equations.removal.moment)
    whitened = torch.linalg.solve_triangular(factor, equations.subspace.project(rows.keys).T, upper=False)
    novelty = whitened.square().sum(0)[rows.key_index]
    up, down = update
    initial = rows.residuals.square().sum(1) * rows.weights
    remaining = rows.squared_residuals(lambda keys: keys @ down.T @ up.T) * rows.weights
    forecast = []
    for removal in edit.reported_removals:
        own = torch.tensor([owner == removal for owner in owners])[rows.pair_index]
        share = initial[own] / initial[own].sum()
        forecast.append(
            ForeseenRemoval(
                concept=removal.concept.name,
                kind=removal.concept.kind,
                weight=weights.get(removal, 1.0),
                leak=float((share / (1 + novelty[own])).sum()),
                left=float(remaining[own].sum() / initial[own].sum()),
            )
        )
    return sorted(forecast, key=lambda one: -one.left)
