"""Texts -> tokens with their places in the text.

CLIP's byte pairs never reach across a blank, so a text's tokens are those of its words one after the other. Prompts of many
removals share nearly all their words: each word is tokenised once, and a prompt is put together from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from threading import Lock
from typing import Any

REMEMBERED = 100_000
"""Words to remember, some 400 bytes each; past this many the memory starts over."""


@dataclass(frozen=True)
class Word:
    """What stands between two blanks."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    """First character of each token and the one after its last, as the word came, whatever the tokenizer folds."""
    length: int


@dataclass(frozen=True)
class Encoded:
    """A text's tokens, BOS and EOS among them, without padding."""

    ids: list[int]
    words: list[Word]

    @property
    def whole(self) -> bool:
        """Whether the text is a single token, between BOS and EOS."""
        return len(self.ids) == 3

    def covering(self, start: int, stop: int) -> tuple[int, int]:
        """First and last token that hold a character of ``text[start:stop]``."""
        own, token, place = [], 1, 0
        for word in self.words:
            if place < stop and place + word.length > start:
                spans = enumerate(word.spans, token)
                own += [i for i, (first, last) in spans if first < min(last, stop - place) and last > start - place]
            token += len(word.ids)
            place += word.length + 1
        return own[0], own[-1]


@dataclass(frozen=True)
class Tokens:
    """A CLIP tokenizer with a memory for words, which several threads may share."""

    tokenizer: Any
    known: dict[str, Word] = field(default_factory=dict)
    learning: Lock = field(default_factory=Lock)

    @cached_property
    def frame(self) -> tuple[int, int]:
        """BOS and EOS."""
        first, last = self.tokenizer("")["input_ids"]
        return first, last

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """One entry a text."""
        split = [text.split(" ") for text in texts]
        known = self.remembered({word for words in split for word in words})
        found = [[known[word] for word in words] for words in split]
        bos, eos = self.frame
        return [Encoded([bos, *chain.from_iterable(word.ids for word in words), eos], words) for words in found]

    def remembered(self, words: set[str]) -> dict[str, Word]:
        """Each word's tokens; those that are new are tokenised at once."""
        with self.learning:
            missing = words - self.known.keys()
            if len(self.known) + len(missing) > REMEMBERED:
                self.known.clear()
                missing = words
            if missing:
                self.learn(sorted(missing))
            return {word: self.known[word] for word in words}

    def learn(self, words: list[str]) -> None:
        """Tokenise; BOS and EOS are left out."""
        found = self.tokenizer(words, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
        for word, ids, spans in zip(words, found["input_ids"], found["offset_mapping"], strict=True):
            self.known[word] = Word(tuple(ids[1:-1]), tuple(spans[1:-1]), len(word))
