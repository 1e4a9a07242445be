"""The text gate: the linear map through which an MMDiT reads its sequence of text, one row for each token.

FLUX.1's reads T5 alone. Stable Diffusion 3's reads the states of both CLIP encoders, side by side in its first columns, and
below them those of T5: two populations of rows, one map.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from editor.checkpoints import Checkpoint
from editor.prompts import PromptBuilder, PromptPair, TokenizedPrompt
from editor.prompts.token_alignment import AlignedToken
from editor.sites.clip_attention import TokenPositions
from editor.sites.cross_attention import states_stream
from editor.sites.shared_weights import SharedWeights
from editor.sites.stream_site import StreamSite
from editor.sites.streams import Stream
from editor.sites.t5_states import T5States
from editor.solver.risk_curves import TEXT_GATE_CURVES

GATE = "context_embedder.weight"
LENGTHS = {"flux": 512, "sd3": 256}
"""Rows of T5 that each family's pipeline in diffusers reads by default, unless the tokenizer takes fewer."""


@dataclass(frozen=True)
class Stacked:
    """Rows of CLIP, filled with zeros to the width of T5's, and below them those of T5; see `editor.sites.streams.Stream`."""

    clip: Stream
    t5: T5States
    context: int
    """Rows of CLIP."""
    repeats_first: bool = True

    @property
    def width(self) -> int:
        """See `Stream`."""
        return self.t5.width

    def rows(self, prompts: Sequence[TokenizedPrompt], at: TokenPositions) -> tuple[Tensor, Tensor]:
        """See `Stream`."""
        below = at.positions >= self.context
        key_index, found, count = torch.zeros_like(at.positions), [], 0
        for part, mask, offset in ((self.clip, ~below, 0), (self.t5, below, self.context)):
            if not mask.any():
                continue
            rows, index = part.rows(prompts, TokenPositions(at.prompt_index[mask], at.positions[mask] - offset))
            key_index[mask] = index + count
            found.append(pad(rows, (0, self.width - rows.shape[1])))
            count += len(rows)
        return torch.cat(found), key_index

    def align(self, pair: PromptPair) -> Sequence[AlignedToken]:
        """See `Stream`."""
        shifted = (
            AlignedToken(one.key + self.context, one.value + self.context, one.role, one.weight)
            for one in self.t5.align(pair)
        )
        return [*self.clip.align(pair), *shifted]

    def retained_positions(self, prompt: TokenizedPrompt) -> Iterator[tuple[list[int], float]]:
        """See `Stream`."""
        below = (([i + self.context for i in group], weight) for group, weight in self.t5.retained_positions(prompt))
        return chain(self.clip.retained_positions(prompt), below)

    def protected_positions(self, prompt: TokenizedPrompt) -> list[int]:
        """See `Stream`."""
        return [
            *self.clip.protected_positions(prompt),
            *(i + self.context for i in self.t5.protected_positions(prompt)),
        ]

    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """See `Stream`."""
        self.clip.prefetch(prompts)
        self.t5.prefetch(prompts)

    def without_cache(self) -> "Stacked":
        """See `Stream`."""
        return Stacked(self.clip.without_cache(), self.t5.without_cache(), self.context)

    def exact(self) -> "Stacked":
        """See `Stream`."""
        return Stacked(self.clip.exact(), self.t5.exact(), self.context)


def find_text_gate(checkpoint: Checkpoint, builders: Sequence[PromptBuilder]) -> StreamSite | None:
    """Return the site of a model; None if its family has none, or T5 is not in the model's folder."""
    t5, root = find_t5(checkpoint), checkpoint.path
    if t5 is None:
        return None
    denoiser = checkpoint.require_denoiser()
    width = denoiser.shape(GATE)[1]
    tokenizer = tokenizer_folder(root, t5)
    length = min(LENGTHS[checkpoint.family], tokenizer_length(tokenizer))
    stream: Stream = T5States(root / t5, tokenizer, length, width, checkpoint.device)
    if checkpoint.family == "sd3":
        assert isinstance(stream, T5States)
        stream = Stacked(states_stream(checkpoint, builders), stream, builders[0].context_length)
    return StreamSite("text_gate", stream, SharedWeights(denoiser, (GATE,), width), TEXT_GATE_CURVES)


def find_t5(checkpoint: Checkpoint) -> str | None:
    """Return the component of the T5 encoder that a text gate reads; None if the model lacks the gate, or T5 in its folder."""
    t5 = next((one.component for one in checkpoint.unedited_encoders if one.component.startswith("text_encoder")), None)
    if t5 is None or not (checkpoint.path / t5).is_dir():
        return None
    denoiser = checkpoint.denoiser
    return t5 if denoiser is not None and GATE in denoiser.locations else None


def tokenizer_folder(root: Path, component: str) -> Path:
    """Return the folder of an encoder's tokenizer."""
    return root / component.replace("text_encoder", "tokenizer")


def tokenizer_length(folder: Path) -> int:
    """Return the number of tokens that a tokenizer takes, which is huge if its files do not say."""
    config = json.loads((folder / "tokenizer_config.json").read_text())
    return int(config.get("model_max_length", sys.maxsize))
