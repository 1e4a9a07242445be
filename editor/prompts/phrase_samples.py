"""Samples of phrases that are as varied as their size allows."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import zip_longest

from editor.prompts.concepts import Phrase


def sample_varied(phrases: Iterable[Phrase], limit: int, beside: Sequence[Phrase] = ()) -> tuple[Phrase, ...]:
    """Return at most ``limit`` distinct phrases: equally many of each object and style, in surroundings picked at random.

    Even distances in a list could match the period of its styles or surroundings, and pick a few of them only.

    Args:
        phrases: the phrases to choose from.
        limit: most phrases.
        beside: phrases whose objects and styles count as chosen already.
    """
    by_subject: dict[tuple[str, str], list[Phrase]] = {}
    for phrase in dict.fromkeys(phrases):
        by_subject.setdefault((phrase.object, phrase.style), []).append(phrase)
    shuffled = [random.Random(number).sample(own, len(own)) for number, own in enumerate(by_subject.values())]
    chosen: list[Phrase] = []
    for turn in zip_longest(*shuffled):
        chosen += sample_balanced([phrase for phrase in turn if phrase], limit - len(chosen), [*beside, *chosen])
    return tuple(chosen)


def sample_balanced(phrases: Sequence[Phrase], limit: int, beside: Sequence[Phrase]) -> list[Phrase]:
    """Return at most ``limit`` phrases about distinct subjects, each time one of the rarest object and of its rarest style."""
    if len(phrases) <= limit:
        return list(phrases)
    left = random.Random(limit).sample(phrases, len(phrases))
    objects, styles = (Counter(getattr(phrase, slot) for phrase in beside) for slot in ("object", "style"))
    chosen: list[Phrase] = []
    while len(chosen) < limit:
        rarest = min(left, key=lambda phrase: (objects[phrase.object], styles[phrase.style]))
        left.remove(rarest)
        chosen.append(rarest)
        objects[rarest.object] += 1
        styles[rarest.style] += 1
    return chosen
