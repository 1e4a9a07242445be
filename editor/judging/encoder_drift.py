"""How far the text encoder's last states move, in prompts that have nothing to do with what was removed."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from api_schemas.judging import Drift
from editor.generation.sampling import apply_updates, revert_updates
from editor.judging.prompt_groups import PromptGroup
from editor.methods.tensor_update import TensorUpdate


def measure_drift(pipeline: Any, updates: Sequence[TensorUpdate], groups: Sequence[PromptGroup]) -> Drift | None:
    """Over all unrelated prompts of a request, drawn or not; None where there are none. The pipeline stays the base model's.

    States are the ones that the image model is given. A prompt's drift is ``|after - before| / |before|`` over all positions
    but the first, which is the same in every prompt and has a figure of its own.
    """
    prompts = list(dict.fromkeys(prompt for group in groups if group.name == "retain" for prompt in group.prompts))
    if not prompts:
        return None
    before = final_states(pipeline, ["", *prompts])
    apply_updates(pipeline, updates)
    try:
        after = final_states(pipeline, ["", *prompts])
    finally:
        revert_updates(pipeline, updates)
    moved = relative_change(before[:, 1:], after[:, 1:])
    return Drift(
        prompts=len(prompts),
        mean=float(moved[1:].mean()),
        p95=float(moved[1:].quantile(0.95)),
        max=float(moved[1:].max()),
        bos=float(relative_change(before[:, :1], after[:, :1]).max()),
        null_prompt=float(moved[0]),
    )


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """``(n, positions, width)`` twice -> ``(n,)``."""
    moved: Tensor = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    return moved


@torch.no_grad()
def final_states(pipeline: Any, prompts: Sequence[str]) -> Tensor:
    """``(n, positions, width)`` last states, float64."""
    encoded = pipeline.encode_prompt(
        list(prompts), device=pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
    )
    last: Tensor = encoded[0]
    return last.double()
