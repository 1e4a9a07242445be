"""Forecast the effect of an edit before it is applied: on any prompt, worst first, and on each concept.

At the edited layer the change is exact, because the layer's keys do not depend on its weight: a thousand prompts take less
than a second. The movement of the final states takes all layers. How likely a prompt is to lose its subject is a forecast: a
curve, fitted to images, of how far the encoder's final states move at EOS and padding, the positions to which a UNet was
measured to attend most (see the results page).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from api_schemas.report import ForeseenChange, ForeseenRemoval
from editor.checkpoints import OutputProjection, TextEncoder
from editor.checkpoints.key_mapping import FIRST_LAYER
from editor.io.progress import step, track
from editor.methods.layer_edit import LayerEdit, RemovalWeights
from editor.prompts import PromptBuilder, TokenizedPrompt
from editor.sites.final_states import EncoderUpdates, SampledPrompts, final_states_before_and_after
from editor.sites.key_value_pairs import open_site, retained_keys
from editor.sites.layer_reader import fast_weight_dtype
from editor.sites.lazy_clip import LazyCLIPTextModel
from editor.solver.least_squares import cholesky
from editor.solver.normal_equations import NormalEquations

PROMPT_BATCH = 128
"""Prompts that the encoder processes at a time."""
EXACT_OPERATIONS = 6.4e10
"""Floating-point operations, half a second of two cores, up to which the movement of all prompts is computed exactly."""
QUICK_OPERATIONS = 2.4e10
"""Floating-point operations that a quick forecast may take in a larger encoder."""
PADDING_SAMPLES = 8
"""Padding positions that represent all of a prompt's padding in a large encoder."""
MIN_MOVED_PROMPTS = 4
"""Prompts whose movement a quick forecast computes in an encoder of any size."""
MLP_BIAS = FIRST_LAYER + "mlp.fc1.bias"
DROP_MIDPOINT, DROP_STEEPNESS = 0.603, 8.4
"""Relative movement of the final states at which half of the prompts lose their object, and the slope of that curve."""


def forecast_collateral(
    source: TextEncoder,
    builder: PromptBuilder,
    deltas: EncoderUpdates,
    texts: Sequence[str],
    *,
    quick: bool = False,
) -> list[ForeseenChange]:
    """Forecast the effect of updates on prompts, worst first.

    The movement of the final states is exact for a small encoder. For a large one it is estimated from a sample of the padding
    in the fastest precision of the CPU, to within 0.035 in movement and 0.005 in probability.

    Args:
        source: the text encoder.
        builder: builds its prompts.
        deltas: dW of each edited map.
        texts: the prompts.
        quick: compute the movement of only as many prompts as ``QUICK_OPERATIONS`` allows, those that change most.
    """
    prompts, model = builder.tokenize_all(texts), LazyCLIPTextModel(source)
    changes = torch.stack([output_change(model, projection, deltas, prompts) for projection in deltas]).amax(0)
    worst = changes.argsort(descending=True, stable=True).tolist()
    exact = count_operations(source, SampledPrompts.of(prompts)) <= EXACT_OPERATIONS
    if quick and not exact:
        worst = worst[: affordable_prompts(source, SampledPrompts.of([prompts[i] for i in worst], PADDING_SAMPLES))]
    moved = final_state_movement(source, deltas, [prompts[i] for i in worst], None if exact else PADDING_SAMPLES)
    movements: dict[int, float] = dict(zip(worst, moved.tolist(), strict=True))
    forecast = [
        foreseen_change(*pair, movements.get(i)) for i, pair in enumerate(zip(texts, changes.tolist(), strict=True))
    ]
    return sorted(forecast, key=lambda one: (one.moved is None, -(one.change if one.moved is None else one.moved)))


def foreseen_change(text: str, change: float, movement: float | None) -> ForeseenChange:
    """Return the forecast for a prompt; None if its movement was not computed."""
    drop = None if movement is None else drop_probability(movement)
    return ForeseenChange(prompt=text, change=change, moved=movement, drop=drop)


def count_operations(source: TextEncoder, prompts: SampledPrompts) -> int:
    """Return the floating-point operations for the final states of prompts before and after an edit."""
    return len(prompts.distinct[0]) * operations_per_row(source)


def operations_per_row(source: TextEncoder) -> int:
    """Return the floating-point operations for one position of one prompt, before and after an edit."""
    inner = source.shape(MLP_BIAS)[0]
    return 2 * 2 * source.layers * (4 * source.width + 2 * inner) * source.width


def affordable_prompts(source: TextEncoder, prompts: SampledPrompts) -> int:
    """Return how many of the first prompts take at most ``QUICK_OPERATIONS`` together, but a few in any case."""
    slots = prompts.positions.shape[1]
    rows = torch.bincount(prompts.distinct[0] // slots, minlength=len(prompts.ids)).cumsum(0)
    return max(MIN_MOVED_PROMPTS, int((rows * operations_per_row(source) <= QUICK_OPERATIONS).sum()))


def output_change(
    model: LazyCLIPTextModel,
    projection: OutputProjection,
    deltas: EncoderUpdates,
    prompts: Sequence[TokenizedPrompt],
) -> Tensor:
    """Return the relative change of a map's values by its own update, (prompts,)."""
    site = open_site(model, deltas, projection)
    retained = retained_keys(site, prompts)
    changes, outputs = retained.keys @ deltas[projection].T, retained.keys @ site.weight.T
    return retained.prompt_norms(changes) / retained.prompt_norms(outputs)


def final_state_movement(
    source: TextEncoder,
    deltas: EncoderUpdates,
    prompts: Sequence[TokenizedPrompt],
    paddings: int | None = None,
) -> Tensor:
    """Return the relative movement of the final states at EOS and padding, (prompts,).

    Args:
        paddings: number of padding positions that represent all of them, in the CPU's fastest precision; None: the exact
            movement.
    """
    dtype = torch.float32 if paddings is None else fast_weight_dtype()
    batches = [prompts[start : start + PROMPT_BATCH] for start in range(0, len(prompts), PROMPT_BATCH)]
    return torch.cat(
        [_batch_movement(source, deltas, SampledPrompts.of(batch, paddings), dtype) for batch in track(batches)]
    )


def _batch_movement(source: TextEncoder, deltas: EncoderUpdates, prompts: SampledPrompts, dtype: torch.dtype) -> Tensor:
    before, after = final_states_before_and_after(source, deltas, prompts, dtype)
    squares = ((states.square().sum(2) * prompts.padding_weights).sum(1) for states in (after - before, before))
    return torch.div(*squares).sqrt()


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
    destinations: RemovalWeights,
) -> list[ForeseenRemoval]:
    """Forecast how completely each concept is removed, worst first.

    A single key k of a removal leaves 1 / (1 + q) of its residual, with q = k^T (preservation C + ridge)^-1 k: a concept
    whose keys are similar to the retained ones cannot be removed without changing those. ``leak`` is that bound; ``left`` is
    the share that remains with the update ``(up, down)`` of all removals together.
    """
    reported = edit.reported_removals
    number_of = {removal: number for number, removal in enumerate(reported)}
    factor = cholesky(equations.system(preservation) - equations.removal.moment)
    up, down = update
    sums = torch.zeros(len(reported) + 1, 3, dtype=torch.float64)
    with step(0.9, 0.1):
        for owners, rows in edit.feasibility_rows():
            whitened = torch.linalg.solve_triangular(factor, equations.subspace.project(rows.keys).T, upper=False)
            novelty = whitened.square().sum(0)[rows.key_index]
            own, initial = rows.residuals.square().sum(1) * rows.weights, rows.initial_squares * rows.weights
            remaining = rows.squared_residuals(lambda keys: keys @ down.T @ up.T) * rows.weights
            numbers = torch.tensor([number_of.get(owner, len(reported)) for owner in owners])
            figures = torch.stack([initial, own / (1 + novelty), remaining], 1)
            sums.index_add_(0, numbers[rows.pair_index], figures)
    shares = (sums[:, 1:] / sums[:, :1]).tolist()
    forecast = [
        ForeseenRemoval(
            concept=removal.concept.name,
            kind=removal.concept.kind,
            weight=weights.get(removal, 1.0),
            leak=shares[number_of[removal]][0],
            left=shares[number_of[removal]][1],
            destination=destinations.get(removal),
        )
        for removal in reported
    ]
    return sorted(forecast, key=lambda one: -one.left)
