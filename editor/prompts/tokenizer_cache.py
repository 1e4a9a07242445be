"""A cache of tokenized words, from which prompts are assembled.

CLIP's byte pairs never cross a space, so the tokens of a text are the concatenated tokens of its words. The prompts of many
removals share nearly all their words, and each word is tokenized once. Tokens that textual inversion added can have spaces and
several vectors: with such a tokenizer, texts are tokenized whole, as the pipeline does.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from threading import Lock
from typing import Any

from editor.io.progress import check_canceled
from editor.prompts.textual_inversion import added_tokens, expand_vectors

MAX_CACHED_WORDS = 100_000
"""Words in the cache, about 400 bytes each. The cache is cleared when it is full."""


@dataclass(frozen=True)
class TokenizedWord:
    """The tokens of the text between two spaces, or of a whole text."""

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    """First and one past the last character of each token in the original word, before the tokenizer normalises it."""
    length: int


@dataclass(frozen=True)
class EncodedText:
    """The tokens of a text with BOS and EOS, without padding."""

    ids: list[int]
    words: list[TokenizedWord]

    @property
    def is_single_token(self) -> bool:
        """Whether the text is a single token between BOS and EOS."""
        return len(self.ids) == 3

    def tokens_covering(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first and last token with a character of ``text[start:stop]``."""
        covering, token, offset = [], 1, 0
        for word in self.words:
            if offset < stop and offset + word.length > start:
                spans = enumerate(word.spans, token)
                covering += [
                    i for i, (first, last) in spans if first < min(last, stop - offset) and last > start - offset
                ]
            token += len(word.ids)
            offset += word.length + 1
        return covering[0], covering[-1]


@dataclass(frozen=True)
class TokenizerCache:
    """A CLIP tokenizer with a cache of words. Thread-safe."""

    tokenizer: Any
    words: dict[str, TokenizedWord] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    @cached_property
    def bos_eos(self) -> tuple[int, int]:
        """The ids of BOS and EOS."""
        first, last = self.tokenizer("")["input_ids"]
        return first, last

    @cached_property
    def added_tokens(self) -> frozenset[str]:
        """The tokens that textual inversion added."""
        return added_tokens(self.tokenizer)

    def encode(self, texts: Sequence[str]) -> list[EncodedText]:
        """Tokenize texts."""
        check_canceled()
        if self.added_tokens:
            return [self._encode_whole(text) for text in texts]
        split = [text.split(" ") for text in texts]
        tokenized = self._get_words({word for words in split for word in words})
        texts_words = [[tokenized[word] for word in words] for words in split]
        bos, eos = self.bos_eos
        return [
            EncodedText([bos, *chain.from_iterable(word.ids for word in words), eos], words) for words in texts_words
        ]

    def _encode_whole(self, text: str) -> EncodedText:
        """Tokenize one text as the pipeline does, with every vector of its added tokens."""
        expanded, origins = expand_vectors(text, self.tokenizer, self.added_tokens)
        encoded = self.tokenizer(expanded, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
        ids, offsets = encoded["input_ids"], encoded["offset_mapping"][1:-1]
        spans = tuple((origins[first][0], origins[stop - 1][1]) for first, stop in offsets)
        return EncodedText(ids, [TokenizedWord(tuple(ids[1:-1]), spans, len(text))])

    def _get_words(self, words: set[str]) -> dict[str, TokenizedWord]:
        """Return the tokens of each word; missing ones are tokenized in one batch."""
        with self.lock:
            missing = words - self.words.keys()
            if len(self.words) + len(missing) > MAX_CACHED_WORDS:
                self.words.clear()
                missing = words
            if missing:
                self._tokenize_words(sorted(missing))
            return {word: self.words[word] for word in words}

    def _tokenize_words(self, words: list[str]) -> None:
        """Tokenize words into the cache, without BOS and EOS."""
        encoded = self.tokenizer(words, return_offsets_mapping=True, return_attention_mask=False, verbose=False)
        for word, ids, spans in zip(words, encoded["input_ids"], encoded["offset_mapping"], strict=True):
            self.words[word] = TokenizedWord(tuple(ids[1:-1]), tuple(spans[1:-1]), len(word))
