"""Values that make the encoder's last states equal, not those of the edited layer (the idea of HiRM, 2026).

The update stays at its layer; what the attention shall give there is found by gradient descent through the layers above.
It costs whole forward and backward passes, where the other aims cost a layer.
"""

import torch
from torch import Tensor

from editor.sites.clip_attention import Places, States
from editor.sites.lazy_clip import Tower

STEPS = 12
"""Of L-BFGS, from the values that make the attention's output equal."""


def refined(tower: Tower, layer: int, entering: States, spoken: Places, start: Tensor, wanted: Tensor) -> Tensor:
    """Residuals (n, d) to add to the attention's output at some places so that the last states there are as wanted.

    Args:
        entering: what enters the layer, of the prompts as spoken.
        start: residuals to begin with, (n, d).
        wanted: last states of the prompts as meant, at the aligned places, (n, d).
    """
    with torch.no_grad():
        middle = tower.after_attention(entering, layer)
    residuals = start.clone().requires_grad_()
    optimiser = torch.optim.LBFGS([residuals], max_iter=STEPS, line_search_fn="strong_wolfe")
    rows, positions = spoken.rows, spoken.positions

    def loss() -> Tensor:
        optimiser.zero_grad()
        changed = middle.index_put((rows, positions), residuals.to(middle.dtype), accumulate=True)
        missed = (tower.completed(changed, layer)[rows, positions] - wanted).square().sum() / len(rows)
        missed.backward()  # type: ignore[no-untyped-call]
        return missed

    with torch.enable_grad():
        optimiser.step(loss)  # type: ignore[no-untyped-call]
    return residuals.detach()
