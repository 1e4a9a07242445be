"""Texts -> tokens with their places in the text: many texts in one call, each text once."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

REMEMBERED = 100_000
"""Texts to remember, some 300 bytes each; past this many the memory starts over."""


@dataclass(frozen=True)
class Encoded:
    """A text's tokens, BOS and EOS among them, without padding; ``starts`` and ``stops`` are their characters."""

    ids: "array[int]"
    starts: "array[int]"
    stops: "array[int]"

    @property
    def whole(self) -> bool:
        """Whether the text is a single token, between BOS and EOS."""
        return len(self.ids) == 3

    def covering(self, start: int, stop: int) -> tuple[int, int]:
        """First and last token that hold a character of ``text[start:stop]``."""
        places = enumerate(zip(self.starts, self.stops, strict=True))
        own = [i for i, (first, last) in places if first < min(last, stop) and last > start]
        return own[0], own[-1]


@dataclass(frozen=True)
class Tokens:
    """A fast tokenizer with a memory."""

    tokenizer: Any
    known: dict[str, Encoded] = field(default_factory=dict)

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """One entry a text."""
        missing = [text for text in dict.fromkeys(texts) if text not in self.known]
        if len(self.known) + len(missing) > REMEMBERED:
            missing = list(dict.fromkeys(texts))
            self.known.clear()
        if missing:
            self.learn(missing)
        return [self.known[text] for text in texts]

    def learn(self, texts: list[str]) -> None:
        """Tokenise at once. Offsets count characters of the text as it came, whatever the tokenizer folds."""
        found = self.tokenizer(texts, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
        for text, ids, offsets in zip(texts, found["input_ids"], found["offset_mapping"], strict=True):
            starts, stops = zip(*offsets, strict=True)
            self.known[text] = Encoded(array("l", ids), array("l", starts), array("l", stops))
