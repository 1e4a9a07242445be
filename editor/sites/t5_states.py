"""The rows that a T5 encoder gives to a denoiser, padding included: no denoiser that reads it masks the padding.

T5 attends in both directions, so every row depends on the whole prompt: the words before a concept and the padding carry it
too. The encoder is run by transformers, once for each prompt, at the length that its pipeline pads to.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from editor.io.progress import check_canceled
from editor.prompts import PromptPair, TokenizedPrompt
from editor.prompts.templates import evenly_spaced
from editor.prompts.token_alignment import AlignedToken, Role, common_suffix
from editor.sites.clip_attention import TokenPositions
from editor.sites.streams import StateCache

PADDING_ROWS = 8
"""Rows, spread over the whole length, that represent the padding."""
BATCH = 16
"""Prompts that the encoder processes at a time."""
Aligned = dict[Role, list[tuple[int, int]]]


@cache
def load_tokenizer(folder: Path) -> Any:
    """Load the tokenizer of an encoder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


@lru_cache(maxsize=1)
def load_encoder(folder: Path, device: str) -> Any:
    """Load an encoder in the precision of its files. It stays in memory until `release_encoder`."""
    from transformers import T5EncoderModel

    return (
        T5EncoderModel.from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype="auto")
        .to(device)
        .eval()
    )


def release_encoder() -> None:
    """Free the memory of the encoder that was loaded last: T5-XXL has 10 GB."""
    load_encoder.cache_clear()


@dataclass(frozen=True)
class T5States:
    """The final states of a T5 encoder; see `editor.sites.streams.Stream`."""

    encoder: Path
    """Folder of the encoder."""
    tokenizer: Path
    length: int
    """Rows of a prompt, to which its pipeline pads."""
    width: int
    device: str = "cpu"
    cache: StateCache = field(default_factory=StateCache, repr=False)
    repeats_first: bool = False

    @property
    def padding(self) -> list[int]:
        """Positions that represent the padding of every prompt in which they follow the end."""
        return evenly_spaced(range(1, self.length), 2 * PADDING_ROWS)

    def ids(self, text: str) -> list[int]:
        """Return the tokens of a prompt up to its end, without padding."""
        tokens: list[int] = load_tokenizer(self.tokenizer)(text, truncation=True, max_length=self.length).input_ids
        return tokens

    def rows(self, prompts: Sequence[TokenizedPrompt], at: TokenPositions) -> tuple[Tensor, Tensor]:
        """See `Stream`."""
        self.prefetch(prompts)
        return self.cache.rows_at(prompts, at)

    def align(self, pair: PromptPair) -> Sequence[AlignedToken]:
        """See `Stream`. Every role of a prompt has weight 1."""
        roles = align_pieces(self.ids(pair.concept.text), self.ids(pair.destination.text), self.padding)
        return [
            AlignedToken(key, value, role, 1 / len(positions))
            for role, positions in roles.items()
            for key, value in positions
        ]

    def retained_positions(self, prompt: TokenizedPrompt) -> Iterator[tuple[list[int], float]]:
        """See `Stream`."""
        end = len(self.ids(prompt.text)) - 1
        groups = (list(range(end)), [end], [position for position in self.padding if position > end][::2])
        yield from ((positions, 1.0) for positions in groups if positions)

    def protected_positions(self, prompt: TokenizedPrompt) -> list[int]:
        """See `Stream`."""
        end = len(self.ids(prompt.text)) - 1
        return [*range(end + 1), *(position for position in self.padding if position > end)]

    @torch.no_grad()
    def prefetch(self, prompts: Sequence[TokenizedPrompt]) -> None:
        """See `Stream`. Only the rows that any role uses are stored."""
        missing = list(dict.fromkeys(p.text for p in prompts if p.text not in self.cache.rows_of_prompt))
        for start in range(0, len(missing), BATCH):
            check_canceled()
            self._encode(missing[start : start + BATCH])

    def _encode(self, texts: list[str]) -> None:
        tokens = load_tokenizer(self.tokenizer)(
            texts, padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )
        states = load_encoder(self.encoder, self.device)(tokens.input_ids.to(self.device))[0].float().cpu()
        index = torch.zeros(len(texts), self.length, dtype=torch.long)
        kept, count = [], 0
        for number, text in enumerate(texts):
            positions = sorted({*range(len(self.ids(text))), *self.padding})
            index[number, positions] = torch.arange(count, count + len(positions))
            kept.append(states[number, positions])
            count += len(positions)
        self.cache.append(texts, torch.cat(kept), index)

    def without_cache(self) -> "T5States":
        """See `Stream`."""
        return replace(self, cache=StateCache())

    def exact(self) -> "T5States":
        """See `Stream`."""
        return self.without_cache()


def align_pieces(concept: list[int], destination: list[int], padding: Sequence[int]) -> Aligned:
    """Align the tokens of two prompts that differ in one place, the end and the padding included.

    Both have the same words before and after the subject, which have one role: T5 lets either read it. All pieces of the
    subject are aligned, from the last one backwards; with the end, if nothing takes its place.

    Args:
        concept: tokens of the prompt that names the concept, its end included.
        destination: the same of the prompt that it is mapped to.
        padding: positions that represent the padding.
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
        "padding": [(i, i) for i in padding if i > max(end, target_end)],
    }
    return {role: positions for role, positions in roles.items() if positions}
