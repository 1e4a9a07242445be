"""Drift of the text encoder: how far its final hidden states move on prompts that are unrelated to the removals."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from api_schemas.judging import Drift
from editor.checkpoints.tensor_update import TensorUpdate
from editor.generation.clip_states import clip_runners, encode_clip_states
from editor.generation.edited_weights import edited_weights
from editor.judging.prompt_groups import PromptGroup


def measure_drift(pipeline: Any, updates: Sequence[TensorUpdate], groups: Sequence[PromptGroup]) -> Drift | None:
    """Return the drift over all retained prompts of a request; None if there are none, or no CLIP
    text encoder. The pipeline ends with the base tensors.

    The hidden states are those that every CLIP text encoder passes to the denoiser, side by side. A prompt's drift is
    ``|after - before| / |before|`` over all positions but the first (BOS), which is the same in every prompt and is reported
    separately.
    """
    prompts = list(dict.fromkeys(prompt for group in groups if group.name == "retain" for prompt in group.prompts))
    if not prompts or not clip_runners(pipeline):
        return None
    before = encode_clip_states(pipeline, ["", *prompts]).double()
    with edited_weights(pipeline, updates):
        after = encode_clip_states(pipeline, ["", *prompts]).double()
    change = relative_change(before[:, 1:], after[:, 1:])
    return Drift(
        prompts=len(prompts),
        mean=float(change[1:].mean()),
        p95=float(change[1:].quantile(0.95)),
        max=float(change[1:].max()),
        bos=float(relative_change(before[:, :1], after[:, :1]).max()),
        null_prompt=float(change[0]),
    )


def relative_change(before: Tensor, after: Tensor) -> Tensor:
    """Return the relative change ``(n,)`` between two sets of states ``(n, positions, width)``."""
    change: Tensor = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1)
    return change
