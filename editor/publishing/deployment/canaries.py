"""Canaries: prompts whose states in text space tell an edited encoder from the original, whatever its precision."""

import base64
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from api_schemas.report import CanaryRecord, RemovalRecord
from editor.checkpoints import Checkpoint, TextEncoder
from editor.methods.tensor_update import TensorUpdate
from editor.prompts.templates import evenly_spaced
from editor.publishing.deployment.encoder_readers import Stored

EACH, MOST = 4, 48
"""Prompts of each removal, and of all together."""


def canaries(
    checkpoint: Checkpoint,
    removals: Sequence[RemovalRecord],
    updates: Sequence[TensorUpdate],
    layers: Mapping[str, int],
) -> list[CanaryRecord]:
    """What each text encoder makes of some of the prompts that were edited, before and after.

    Args:
        layers: the layer of each tensor, by its name.
    """
    asked = evenly_spaced(
        [(i, prompt) for i, one in enumerate(removals) for prompt in evenly_spaced(one.edit_prompts, EACH)], MOST
    )
    edited = {update.component for update in updates}
    return [
        record
        for encoder in checkpoint.encoders
        if asked and encoder.component in edited
        for record in canaries_of(encoder, asked, deltas(encoder, updates, layers))
    ]


def deltas(encoder: TextEncoder, updates: Sequence[TensorUpdate], layers: Mapping[str, int]) -> dict[int, Tensor]:
    """An encoder's updates, rounded to the precision of its file."""
    own = (update for update in updates if update.component == encoder.component)
    return {layers[update.name]: update.edited.double() - update.base.double() for update in own}


def canaries_of(
    encoder: TextEncoder, asked: Sequence[tuple[int, str]], edits: Mapping[int, Tensor]
) -> list[CanaryRecord]:
    """Those of one text encoder."""
    prompts = [prompt for _, prompt in asked]
    before, after = Stored(encoder).states(prompts), Stored(encoder, edits).states(prompts)
    return [
        CanaryRecord(component=encoder.component, removal=removal, prompt=prompt, base=packed(old), edited=packed(new))
        for (removal, prompt), old, new in zip(asked, before, after, strict=True)
    ]


def packed(state: Tensor) -> str:
    """A state (width,) as text."""
    return base64.b64encode(state.numpy().astype("<f2").tobytes()).decode()


def unpacked(text: str) -> Tensor:
    """A state (width,) from text, float32."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32))
