"""Residuals that match the encoder's final states instead of the edited layer's output (the idea of HiRM, 2026).

The update stays at its layer; L-BFGS finds the attention output there which gives the wanted final states. This costs whole
forward and backward passes, where the other aims cost one layer.
"""

import torch
from torch import Tensor

from editor.sites.clip_attention import HiddenStates, TokenPositions
from editor.sites.lazy_clip import LazyCLIPTextModel

LBFGS_STEPS = 12
"""Iterations, starting from the residuals that match the attention's output."""


def match_final_states(
    model: LazyCLIPTextModel, layer: int, states: HiddenStates, at: TokenPositions, initial: Tensor, wanted: Tensor
) -> Tensor:
    """Optimise residuals (n, d), added to the attention's output at some positions, so that the final states match.

    Args:
        model: the text encoder.
        layer: the edited layer.
        states: the layer's input for the concepts' prompts.
        at: the n positions in these prompts.
        initial: residuals to start from, (n, d).
        wanted: final states of the destinations' prompts at the aligned positions, (n, d).
    """
    with torch.no_grad():
        stream = model.residual_after_attention(states, layer)
    residuals = initial.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([residuals], max_iter=LBFGS_STEPS, line_search_fn="strong_wolfe")
    index = (at.prompt_index, at.positions)

    def loss() -> Tensor:
        optimiser.zero_grad()
        changed = stream.index_put(index, residuals.to(stream.dtype), accumulate=True)
        error = (model.final_states_from(changed, layer)[index] - wanted).square().sum() / len(wanted)
        error.backward()  # type: ignore[no-untyped-call]
        return error

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    return residuals.detach()
