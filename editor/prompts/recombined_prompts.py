"""Prompts in words of the wordings, in random order: what users write that no template says.

A first-layer key depends on every token before it. Templates show few orders of words, and an update that preserves only these
changes the same names in other sentences.
"""

import random
from collections.abc import Sequence

from editor.prompts.concepts import Phrase, without_article
from editor.prompts.templates import evenly_spaced

MAX_FURTHER_WORDS = 5
"""Words of the wordings in a recombined prompt, besides its names."""
SEED = 0


def recombined_texts(phrases: Sequence[Phrase], limit: int) -> list[str]:
    """Return at most ``limit`` prompts with the names of phrases among words of their surroundings. Deterministic.

    Args:
        phrases: phrases that name something, whose surroundings name nothing else.
        limit: maximum number of prompts.
    """
    words = sorted({word for phrase in phrases for word in phrase.surroundings.split()})
    generator = random.Random(SEED)
    return [recombine(phrase, words, generator) for phrase in evenly_spaced(phrases, limit)]


def recombine(phrase: Phrase, words: Sequence[str], generator: random.Random) -> str:
    """Return the names of a phrase and some words in random order."""
    name = phrase.object if phrase.verbatim else without_article(phrase.object)
    further = generator.sample(words, min(generator.randrange(MAX_FURTHER_WORDS + 1), len(words)))
    parts = [part for part in (name, phrase.style, *further) if part]
    generator.shuffle(parts)
    return " ".join(parts)
