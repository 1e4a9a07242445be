"""Canaries: prompts whose hidden states distinguish the edited text encoder from the original in any precision."""

import base64
from collections.abc import Sequence
from math import gcd

import numpy as np
import torch
from torch import Tensor

from api_schemas.report import CanaryRecord, RemovalRecord
from editor.checkpoints import Checkpoint, OutputProjection, TextEncoder
from editor.checkpoints.tensor_update import TensorUpdate
from editor.checkpoints.tokenizers import open_prompt_tokenizer
from editor.prompts import TokenizedPrompt
from editor.prompts.templates import evenly_spaced
from editor.publishing.deployment.encoder_readers import tokenize
from editor.sites.final_states import EncoderUpdates, SampledPrompts, final_states_before_and_after

CANARIES_PER_REMOVAL, MAX_CANARIES = 4, 48
"""Canary prompts of each removal, and of all removals together."""


def make_canaries(
    checkpoint: Checkpoint,
    removals: Sequence[RemovalRecord],
    updates: Sequence[TensorUpdate],
) -> list[CanaryRecord]:
    """Record each text encoder's states for some of the edited prompts, before and after the edit."""
    asked = evenly_spaced(
        [
            (i, prompt)
            for i, one in enumerate(removals)
            for prompt in diverse_prompts(one.edit_prompts, CANARIES_PER_REMOVAL)
        ],
        MAX_CANARIES,
    )
    edited = {update.component for update in updates}
    return [
        record
        for encoder in checkpoint.encoders
        if asked and encoder.component in edited
        for record in encoder_canaries(encoder, asked, rounded_updates(encoder, updates))
    ]


def diverse_prompts(prompts: Sequence[str], limit: int) -> list[str]:
    """Return at most ``limit`` prompts at a distance that is coprime to their number.

    Prompts cycle through styles and wordings: at a multiple of the cycle all canaries would have one style, which other
    removals in the same weights may move much further than the rest.
    """
    step = max(1, len(prompts) // limit)
    while gcd(step, len(prompts)) > 1:
        step += 1
    return [prompts[i * step % len(prompts)] for i in range(min(limit, len(prompts)))]


def rounded_updates(encoder: TextEncoder, updates: Sequence[TensorUpdate]) -> dict[OutputProjection, Tensor]:
    """Return the updates of an encoder's maps, rounded to the precision of its file."""
    own = (update for update in updates if update.component == encoder.component)
    return {
        OutputProjection.from_weight_name(update.name): update.edited.double() - update.base.double() for update in own
    }


def encoder_canaries(
    encoder: TextEncoder, asked: Sequence[tuple[int, str]], edits: EncoderUpdates
) -> list[CanaryRecord]:
    """Record the canaries of one text encoder."""
    before, after = states_at_eos(encoder, [prompt for _, prompt in asked], edits)
    return [
        CanaryRecord(
            component=encoder.component, removal=removal, prompt=prompt, base=pack_state(old), edited=pack_state(new)
        )
        for (removal, prompt), old, new in zip(asked, before, after, strict=True)
    ]


def states_at_eos(encoder: TextEncoder, prompts: Sequence[str], edits: EncoderUpdates) -> tuple[Tensor, Tensor]:
    """Return the final hidden states at EOS without and with edits, (prompts, width) each, as :class:`StoredEncoder`."""
    ids, ends = tokenize(open_prompt_tokenizer(encoder), prompts)
    tokenized = [TokenizedPrompt(*row) for row in zip(prompts, ids, ends.tolist(), strict=True)]
    sampled = SampledPrompts.of(tokenized, paddings=0)
    before, after = final_states_before_and_after(encoder, edits, sampled, torch.float32)
    rows = torch.arange(len(ids))
    return before[rows, ends], after[rows, ends]


def pack_state(state: Tensor) -> str:
    """Encode a state (width,) as text."""
    return base64.b64encode(state.numpy().astype("<f2").tobytes()).decode()


def unpack_state(text: str) -> Tensor:
    """Decode a state (width,), float32."""
    return torch.from_numpy(np.frombuffer(base64.b64decode(text), dtype="<f2").astype(np.float32))
