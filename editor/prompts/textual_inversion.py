"""Tokens that textual inversion added to a tokenizer.

An embedding of several vectors is loaded as the tokens ``name``, ``name_1``, ``name_2``, ...; diffusers replaces ``name`` in a
prompt by all of them before it tokenizes (``TextualInversionLoaderMixin.maybe_convert_prompt``).
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

Span = tuple[int, int]
"""First and one past the last character."""


def added_tokens(tokenizer: Any) -> frozenset[str]:
    """Return the added tokens that are not the tokenizer's own BOS, EOS, padding or unknown token."""
    own = {tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token}
    return frozenset(tokenizer.added_tokens_encoder) - own


def vector_tokens(token: str, added: Collection[str]) -> str:
    """Return an added token followed by the tokens of its other vectors: ``"cat cat_1 cat_2"``."""
    vectors = [token]
    while (following := f"{token}_{len(vectors)}") in added:
        vectors.append(following)
    return " ".join(vectors)


def expand_vectors(text: str, tokenizer: Any, added: Collection[str]) -> tuple[str, list[Span]]:
    """Replace the added tokens of a text by the tokens of all their vectors, as diffusers does.

    Returns:
        The expanded text, and the span in ``text`` that each of its characters comes from.
    """
    origins = [(i, i + 1) for i in range(len(text))]
    for token in sorted(set(tokenizer.tokenize(text)) & set(added)):
        if (expansion := vector_tokens(token, added)) != token:
            text, origins = replace_tracked(text, token, expansion, origins)
    return text, origins


def expand_all(texts: Sequence[str], tokenizer: Any) -> list[str]:
    """Return texts with the tokens of every vector of their added tokens, as the pipeline passes them to its tokenizer."""
    added = added_tokens(tokenizer)
    return [expand_vectors(text, tokenizer, added)[0] for text in texts] if added else list(texts)


def replace_tracked(text: str, old: str, new: str, origins: list[Span]) -> tuple[str, list[Span]]:
    """Replace every occurrence of ``old``. The characters of ``new`` come from the span of the occurrence they replace."""
    parts, tracked, end = list[str](), list[Span](), 0
    for match in re.finditer(re.escape(old), text):
        span = origins[match.start()][0], origins[match.end() - 1][1]
        parts += [text[end : match.start()], new]
        tracked += [*origins[end : match.start()], *[span] * len(new)]
        end = match.end()
    return "".join([*parts, text[end:]]), tracked + origins[end:]
