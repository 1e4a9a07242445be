"""Streams: what text encoders give to a denoiser, from which the keys of its sites are taken.

Every linear map that reads a stream has the same keys, so one solution D serves all of them: ``dW = W D``. A stream is computed
by the unedited encoder, whatever else is edited, so removals are sums and their order does not matter. Along the padding states
change slowly, so most of it is not computed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import torch
from torch import Tensor

from editor.checkpoints import TextEncoder
from editor.prompts import PromptBuilder, PromptPair, TokenizedPrompt, align_tokens
from editor.prompts.token_alignment import AlignedToken
from editor.sites.clip_attention import TokenPositions
from editor.sites.final_states import SampledPrompts, final_norm, states_after
from editor.sites.key_value_pairs import ROLE_WEIGHTS, retained_positions

TOKEN_ROLES = ROLE_WEIGHTS
"""Roles weigh as at an encoder's attention: equal weights were measured to leave more of a concept for the same retention."""


PADDING_SLOTS = 4
"""Positions at even distances over the context at which states of padding are computed. One between them has the next one's
state, which differs by a few percent."""


class Stream(Protocol):
    """Rows of numbers that a denoiser reads for each prompt."""

    @property
    def width(self) -> int:
        """Width of a row, d."""

    @property
    def repeats_first(self) -> bool:
        """Whether the first row that can be protected is the same in every prompt."""

    def rows(self, prompts: Sequence[TokenizedPrompt], at: TokenPositions) -> tuple[Tensor, Tensor]:
        """Return the distinct rows (m, d) float32 at n positions of prompts, and the row of each position, (n,)."""

    def align(self, pair: PromptPair) -> Sequence[AlignedToken]:
        """Return the positions of the concept's prompt, each with the position of the destination's that it should become."""

    def retained_positions(self, prompt: TokenizedPrompt) -> Iterator[tuple[list[int], float]]:
        """Yield positions of a prompt to retain, and the weight that each group of them shares."""

    def protected_positions(self, prompt: TokenizedPrompt) -> list[int]:
        """Return the positions of a prompt that can be kept unchanged, in order."""

    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """Compute the rows of many prompts in one pass."""

    def without_cache(self) -> Self:
        """Return the stream with an empty cache."""

    def exact(self) -> Self:
        """Return the stream with an empty cache that computes every position."""


@dataclass
class StateCache:
    """Hidden states of prompts. Rows are only ever appended."""

    rows_of_prompt: dict[str, Tensor] = field(default_factory=dict)
    """By text: (length,), the row of each position."""
    blocks: list[Tensor] = field(default_factory=list)
    """(rows, d) each."""
    size: int = 0

    def append(self, texts: Sequence[str], values: Tensor, index: Tensor) -> None:
        """Add prompts, with distinct rows (rows, d) and the row of each of their positions, (prompts, length)."""
        self.rows_of_prompt |= dict(zip(texts, index + self.size, strict=True))
        self.blocks.append(values)
        self.size += len(values)

    @property
    def values(self) -> Tensor:
        """All rows, (rows, d)."""
        if len(self.blocks) > 1:
            self.blocks[:] = [torch.cat(self.blocks)]
        return self.blocks[0]

    def rows_at(self, prompts: Sequence[TokenizedPrompt], at: TokenPositions) -> tuple[Tensor, Tensor]:
        """Return the distinct rows (m, d) at some positions of cached prompts, and the row of each position, (n,)."""
        index = torch.stack([self.rows_of_prompt[prompt.text] for prompt in prompts])
        rows, key_index = torch.unique(index[at.prompt_index, at.positions], return_inverse=True)
        return self.values[rows], key_index


@dataclass(frozen=True)
class ClipStates:
    """The hidden states of one CLIP text encoder: a row for every position of the context, padding included."""

    source: TextEncoder
    builder: PromptBuilder
    """Pads prompts as this encoder's tokenizer does."""
    layers: int
    """Layers that are passed: SDXL and SD3 read the states before the last one."""
    normed: bool
    """Whether the final norm follows."""
    repeats_first: bool = True
    padding_slots: int = PADDING_SLOTS
    """Most positions of the padding at which states are computed."""
    cache: StateCache = field(default_factory=StateCache, repr=False)

    @property
    def width(self) -> int:
        """See `Stream`."""
        return self.source.width

    def rows(self, prompts: Sequence[TokenizedPrompt], at: TokenPositions) -> tuple[Tensor, Tensor]:
        """See `Stream`."""
        self.prefetch(prompts)
        return self.cache.rows_at(prompts, at)

    def align(self, pair: PromptPair) -> Sequence[AlignedToken]:
        """See `Stream`."""
        return align_tokens(pair, TOKEN_ROLES)

    def retained_positions(self, prompt: TokenizedPrompt) -> Iterator[tuple[list[int], float]]:
        """See `Stream`."""
        return retained_positions(prompt)

    def protected_positions(self, prompt: TokenizedPrompt) -> list[int]:
        """See `Stream`."""
        return list(range(len(prompt.ids)))

    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """See `Stream`."""
        missing = {prompt.text: prompt for prompt in prompts if prompt.text not in self.cache.rows_of_prompt}
        if missing:
            stride = -(-self.builder.context_length // self.padding_slots)
            own = zip(missing.values(), self.builder.token_ids(list(missing)), strict=True)
            sampled = SampledPrompts.on_grid([replace(prompt, ids=ids) for prompt, ids in own], stride)
            states, index = states_after(self.source, sampled, self.layers)
            values = final_norm(self.source, states) if self.normed else states
            self.cache.append(list(missing), values, sampled.expand(index))

    def without_cache(self) -> "ClipStates":
        """See `Stream`."""
        return replace(self, cache=StateCache())

    def exact(self) -> "ClipStates":
        """See `Stream`."""
        return replace(self, cache=StateCache(), padding_slots=self.builder.context_length)


@dataclass(frozen=True)
class SideBySide:
    """The states of two CLIP text encoders at the same positions, one beside the other."""

    parts: tuple[ClipStates, ...]
    repeats_first: bool = True

    @property
    def width(self) -> int:
        """See `Stream`."""
        return sum(part.width for part in self.parts)

    def rows(self, prompts: Sequence[TokenizedPrompt], at: TokenPositions) -> tuple[Tensor, Tensor]:
        """See `Stream`."""
        found = [part.rows(prompts, at) for part in self.parts]
        distinct, key_index = torch.unique(torch.stack([index for _, index in found], 1), dim=0, return_inverse=True)
        columns = [rows[chosen] for (rows, _), chosen in zip(found, distinct.T, strict=True)]
        return torch.cat(columns, dim=1), key_index

    def align(self, pair: PromptPair) -> Sequence[AlignedToken]:
        """See `Stream`. Both tokenizers split words alike; only their padding differs."""
        return self.parts[0].align(pair)

    def retained_positions(self, prompt: TokenizedPrompt) -> Iterator[tuple[list[int], float]]:
        """See `Stream`."""
        return self.parts[0].retained_positions(prompt)

    def protected_positions(self, prompt: TokenizedPrompt) -> list[int]:
        """See `Stream`."""
        return self.parts[0].protected_positions(prompt)

    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """See `Stream`."""
        for part in self.parts:
            part.prefetch(prompts)

    def without_cache(self) -> "SideBySide":
        """See `Stream`."""
        return SideBySide(tuple(part.without_cache() for part in self.parts))

    def exact(self) -> "SideBySide":
        """See `Stream`."""
        return SideBySide(tuple(part.exact() for part in self.parts))
