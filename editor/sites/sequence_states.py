"""The rows that T5 or a language model gives to a denoiser, padding included where the denoiser reads it.

T5 attends in both directions, so every row depends on the whole prompt: the words before a concept and the padding carry it
too. The encoder is run once for each prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from editor.io.progress import check_canceled
from editor.prompts import PromptPair, TokenizedPrompt
from editor.prompts.templates import evenly_spaced
from editor.prompts.token_alignment import AlignedToken, Role, common_suffix
from editor.sites.clip_attention import TokenPositions
from editor.sites.prompt_encoder import PromptEncoder
from editor.sites.streams import StateCache

PADDING_ROWS = 8
"""Rows, spread over the whole length, that represent the padding."""
BATCH = 16
"""Prompts that the encoder processes at a time."""
NO_TOKEN = -1
"""Stands for the end of a prompt that has no token there."""
Aligned = dict[Role, list[tuple[int, int]]]


@dataclass(frozen=True, eq=False)
class RowNorm:
    """A norm by the root of the mean square, as diffusers' ``RMSNorm``."""

    weight: Tensor
    """(d,) float32."""
    eps: float

    def __call__(self, rows: Tensor) -> Tensor:
        """Normalise rows, (n, d)."""
        return rows * torch.rsqrt(rows.square().mean(dim=1, keepdim=True) + self.eps) * self.weight


@dataclass(frozen=True)
class SequenceStates:
    """The final states of an encoder; see `editor.sites.streams.Stream`."""

    encoder: PromptEncoder
    width: int
    norm: RowNorm | None = None
    """What the denoiser does to rows before its gate."""
    cache: StateCache = field(default_factory=StateCache, repr=False)

    @property
    def repeats_first(self) -> bool:
        """See `Stream`."""
        return self.encoder.constant_rows > 0

    def end_of(self, prompt: TokenizedPrompt) -> int:
        """Return the last position of a prompt before its padding."""
        return len(self.encoder.ids(prompt.text)) - 1

    def padding_after(self, end: int) -> list[int]:
        """Return the positions that represent the padding after the end of a prompt: those that the denoiser reads."""
        first, length, rows = end + 1, self.encoder.length, self.encoder.format.padding_rows
        if rows is not None:
            return list(range(first, min(first + rows, length)))
        return [position for position in evenly_spaced(range(1, length), 2 * PADDING_ROWS) if position >= first]

    def rows(self, prompts: Sequence[TokenizedPrompt], at: TokenPositions) -> tuple[Tensor, Tensor]:
        """See `Stream`."""
        self.prefetch(prompts)
        return self.cache.rows_at(prompts, at)

    def align(self, pair: PromptPair) -> Sequence[AlignedToken]:
        """See `Stream`. Every role of a prompt has weight 1. Rows that are the same for every prompt have no role."""
        start = self.encoder.constant_rows
        concept, destination = (self.encoder.ids(one.text)[start:] for one in (pair.concept, pair.destination))
        align = align_pieces if self.encoder.format.has_end else align_endless
        roles = {
            role: [(start + key, start + value) for key, value in positions]
            for role, positions in align(concept, destination).items()
        }
        roles["padding"] = self.align_padding(self.end_of(pair.concept), self.end_of(pair.destination))
        return [
            AlignedToken(key, value, role, 1 / len(positions))
            for role, positions in roles.items()
            for key, value in positions
        ]

    def align_padding(self, end: int, target_end: int) -> list[tuple[int, int]]:
        """Align the padding of two prompts: by position, or by distance from the end where the denoiser reads a few rows."""
        if self.encoder.format.reads_padding:
            return [(position, position) for position in self.padding_after(max(end, target_end))]
        return list(zip(self.padding_after(end), self.padding_after(target_end), strict=False))

    def retained_positions(self, prompt: TokenizedPrompt) -> Iterator[tuple[list[int], float]]:
        """See `Stream`."""
        end = self.end_of(prompt)
        groups = (list(range(self.encoder.constant_rows, end)), [end], self.padding_after(end)[::2])
        yield from ((positions, 1.0) for positions in groups if positions)

    def protected_positions(self, prompt: TokenizedPrompt) -> list[int]:
        """See `Stream`."""
        end = self.end_of(prompt)
        return [*range(end + 1), *self.padding_after(end)]

    @torch.no_grad()
    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """See `Stream`. Only the rows that any role uses are stored."""
        missing = list(dict.fromkeys(p.text for p in prompts if p.text not in self.cache.rows_of_prompt))
        for start in range(0, len(missing), BATCH):
            check_canceled()
            self._encode(missing[start : start + BATCH])

    def _encode(self, texts: list[str]) -> None:
        states = self.encoder.states(texts)
        index = torch.zeros(len(texts), self.encoder.length, dtype=torch.long)
        kept, count = [], 0
        for number, text in enumerate(texts):
            end = len(self.encoder.ids(text)) - 1
            positions = [*range(end + 1), *self.padding_after(end)]
            index[number, positions] = torch.arange(count, count + len(positions))
            kept.append(states[number, positions])
            count += len(positions)
        rows = torch.cat(kept)
        self.cache.append(texts, self.norm(rows) if self.norm else rows, index)

    def without_cache(self) -> "SequenceStates":
        """See `Stream`."""
        return replace(self, cache=StateCache())

    def exact(self) -> "SequenceStates":
        """See `Stream`."""
        return self.without_cache()


def align_pieces(concept: list[int], destination: list[int]) -> Aligned:
    """Align the tokens of two prompts that differ in one place, the end included.

    Both have the same words before and after the subject, which have one role: T5 lets either read it. All pieces of the
    subject are aligned, from the last one backwards; with the end, if nothing takes its place.

    Args:
        concept: tokens of the prompt that names the concept, its end included.
        destination: the same of the prompt that it is mapped to.
    """
    end, target_end = len(concept) - 1, len(destination) - 1
    pairs = enumerate(zip(concept[:end], destination[:target_end], strict=False))
    before = next((i for i, (one, other) in pairs if one != other), min(end, target_end))
    after = common_suffix(concept[before:end], destination[before:target_end])
    last, target_last = end - after, target_end - after
    pieces = range(before, last)
    subject = [(i, max(target_last - (last - i), before)) for i in pieces]
    if target_last == before:
        subject = [(i, target_end) for i in pieces]
    roles: Aligned = {
        "subject": subject,
        "trailing": [*((i, i) for i in range(before)), *((last + i, target_last + i) for i in range(after))],
        "eos": [(end, target_end)],
    }
    return {role: positions for role, positions in roles.items() if positions}


def align_endless(concept: list[int], destination: list[int]) -> Aligned:
    """Align the tokens of two prompts that no token ends; what would be aligned with the end is with the last token."""
    aligned = align_pieces([*concept, NO_TOKEN], [*destination, NO_TOKEN])
    last = len(destination) - 1
    return {
        role: [(key, min(value, last)) for key, value in positions]
        for role, positions in aligned.items()
        if role != "eos"
    }
