"""A text encoder as the check needs it: what it makes of prompts, and its tensors by name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.checkpoints.tokenizers import open_tokenizer
from editor.errors import CheckpointError
from editor.sites.lazy_clip import LazyCLIPTextModel


class Reader(Protocol):
    """A text encoder, on disk or running."""

    def states(self, prompts: Sequence[str]) -> Tensor:
        """The last states at EOS, after the final norm, (prompts, width) float32."""

    def tensor(self, name: str) -> Tensor | None:
        """A tensor as transformers names it, or None where it can't be had by itself."""


@dataclass(frozen=True)
class Stored:
    """On disk: read tensor by tensor. ``edits``: updates of output projections, by layer."""

    encoder: TextEncoder
    edits: Mapping[int, Tensor] = field(default_factory=dict)

    def states(self, prompts: Sequence[str]) -> Tensor:
        """See :class:`Reader`."""
        ids, ends = tokenised(open_tokenizer(self.encoder), prompts)
        final = LazyCLIPTextModel(self.encoder, self.edits, dtype=torch.float32).final_states(ids)
        return final[torch.arange(len(ids)), ends]

    def tensor(self, name: str) -> Tensor | None:
        """See :class:`Reader`."""
        try:
            return self.encoder.tensor(name)
        except CheckpointError:
            return None


@dataclass(frozen=True)
class Running:
    """A module of transformers, with whatever was loaded or fused into it."""

    module: Any
    tokenizer: Any

    def states(self, prompts: Sequence[str]) -> Tensor:
        """See :class:`Reader`."""
        ids, ends = tokenised(self.tokenizer, prompts)
        with torch.no_grad():
            final = self.module(ids.to(self.module.device)).last_hidden_state.float().cpu()
        rows: Tensor = final[torch.arange(len(ids)), ends]
        return rows

    def tensor(self, name: str) -> Tensor | None:
        """See :class:`Reader`. Some versions of transformers leave the prefix out."""
        tensors = self.module.state_dict()
        found = tensors.get(name, tensors.get(name.removeprefix("text_model.")))
        return None if found is None else found.detach().cpu()


def tokenised(tokenizer: Any, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """``(n, context)`` ids as a pipeline makes them, and where EOS is in each."""
    encoded = tokenizer(
        list(prompts),
        padding="max_length",
        max_length=tokenizer.model_max_length,
        truncation=True,
        return_tensors="pt",
    )
    ids: Tensor = encoded.input_ids
    return ids, (ids == tokenizer.eos_token_id).int().argmax(1)
