"""The text gate: the linear map through which a transformer reads its sequence of text, one row for each token.

FLUX.1's, Chroma's and PixArt's read T5 alone; those of Sana, Lumina 2, Qwen-Image and Z-Image read a language model. Stable
Diffusion 3's reads the states of both CLIP encoders, side by side in its first columns, and below them those of T5: two
populations of rows, one map. PixArt's and Sana's gates have a second layer, which follows an activation: if the first
layer's outputs are the destination's, so is everything after them. Before some gates, rows are normalised: the keys are what
follows the norm.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import pad

from editor.checkpoints import Checkpoint
from editor.checkpoints.denoiser import TEXT_GATES
from editor.checkpoints.key_mapping import Family
from editor.checkpoints.safe_paths import read_json
from editor.prompts import PromptBuilder, PromptPair, TokenizedPrompt
from editor.prompts.token_alignment import AlignedToken
from editor.sites.clip_attention import TokenPositions
from editor.sites.cross_attention import states_stream
from editor.sites.prompt_encoder import PromptEncoder
from editor.sites.prompt_formats import prompt_format
from editor.sites.sequence_states import RowNorm, SequenceStates
from editor.sites.shared_weights import SharedWeights
from editor.sites.stream_site import StreamSite
from editor.sites.streams import Stream
from editor.solver.risk_curves import TEXT_GATE_CURVES

DEFAULT_NORM_EPS = 1e-6
LENGTHS: Mapping[Family, int] = {
    "flux": 512,
    "chroma": 512,
    "sd3": 256,
    "pixart": 300,
    "sana": 300,
    "lumina2": 256,
    "qwen-image": 512,
    "z-image": 512,
}
"""Rows that each family's pipeline in diffusers reads by default, unless the tokenizer takes fewer."""


@dataclass(frozen=True)
class Stacked:
    """Rows of CLIP, filled with zeros to the width of T5's, and below them those of T5; see `editor.sites.streams.Stream`."""

    clip: Stream
    t5: SequenceStates
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
    """Return the site of a model; None if its family has none, or the encoder that feeds it is not in the model's folder."""
    component = find_sequence_encoder(checkpoint)
    if component is None:
        return None
    denoiser = checkpoint.require_denoiser()
    gate = denoiser.text_gate
    assert gate is not None
    width = denoiser.shape(gate)[1]
    sequence = SequenceStates(
        open_prompt_encoder(checkpoint, component), width, open_norm(checkpoint, TEXT_GATES[gate])
    )
    stream: Stream = sequence
    if checkpoint.family == "sd3":
        stream = Stacked(states_stream(checkpoint, builders), sequence, builders[0].context_length)
    return StreamSite("text_gate", stream, SharedWeights(denoiser, (gate,), width), TEXT_GATE_CURVES)


def open_norm(checkpoint: Checkpoint, name: str | None) -> RowNorm | None:
    """Return the norm of a name in the denoiser; None for none."""
    if name is None:
        return None
    denoiser = checkpoint.require_denoiser()
    config = read_json(checkpoint.path / denoiser.component / "config.json")
    return RowNorm(denoiser.tensor(name).float(), float(config.get("norm_eps", DEFAULT_NORM_EPS)))


def find_sequence_encoder(checkpoint: Checkpoint) -> str | None:
    """Return the component of the encoder, read whole, that feeds the gate; None if the model's folder lacks either."""
    unedited = (one.component for one in checkpoint.unedited_encoders if one.component.startswith("text_encoder"))
    component = next(unedited, None)
    is_present = component is not None and (checkpoint.path / component).is_dir()
    has_gate = checkpoint.denoiser is not None and checkpoint.denoiser.text_gate is not None
    return component if is_present and has_gate else None


def open_prompt_encoder(checkpoint: Checkpoint, component: str) -> PromptEncoder:
    """Return an encoder of a model's folder."""
    folder, tokenizer = checkpoint.path / component, tokenizer_folder(checkpoint.path, component)
    length = min(LENGTHS[checkpoint.family], tokenizer_length(tokenizer))
    return PromptEncoder(folder, tokenizer, length, prompt_format(checkpoint.family, tokenizer), checkpoint.device)


def tokenizer_folder(root: Path, component: str) -> Path:
    """Return the folder of an encoder's tokenizer."""
    return root / component.replace("text_encoder", "tokenizer")


def tokenizer_length(folder: Path) -> int:
    """Return the number of tokens that a tokenizer takes, which is huge if its files do not say."""
    config = json.loads((folder / "tokenizer_config.json").read_text())
    return int(config.get("model_max_length", sys.maxsize))
