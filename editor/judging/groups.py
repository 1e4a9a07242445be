"""Which prompts are judged: the concept, wordings the edit never saw, the nearest neighbours, and everything else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from editor.judging.judge import Asks, Judge
from editor.prompts import PromptBook, Removal
from editor.prompts.concepts import Phrase
from editor.prompts.contexts import evenly

GroupName = Literal["target", "generality", "neighbours", "retain"]
PROMPTS = 20
"""Prompts in a target, generality or neighbours group."""
NEIGHBOURS = 8


@dataclass(frozen=True)
class Group:
    """Prompts of one kind and the question that is asked of their images."""

    name: GroupName
    removal: int | None
    asks: Asks
    phrases: tuple[Phrase, ...]
    concept: str | None = None
    """What every prompt is about, whichever alias it uses."""

    @property
    def prompts(self) -> list[str]:
        """The prompts, in order."""
        return [phrase.text() for phrase in self.phrases]

    @property
    def truths(self) -> list[str]:
        """What a faithful image of each prompt shows."""
        return [self.concept or getattr(phrase, self.asks) for phrase in self.phrases]


def neighbours(judge: Judge, removal: Removal, kept: Sequence[str]) -> list[str]:
    """The kept names that the judge finds most like the concept, nearest first."""
    asks, own = removal.concept.kind, judge.describe(removal.concept.kind, removal.concept.subject)
    similarity = {name: float((judge.describe(asks, name) * own).sum(1).mean()) for name in kept}
    return sorted(kept, key=lambda name: -similarity[name])[:NEIGHBOURS]


def seen(book: PromptBook, removal: Removal, name: str) -> list[Phrase]:
    """Contexts of the edit around ``name``."""
    return [phrase for phrase in book.contexts(removal.concept.kind, name) if book.fits(phrase.text())]


def ordinary(phrases: Iterable[Phrase]) -> list[Phrase]:
    """Styled phrases as people write them: a model that stumbles over a prefix would hide what the edit does."""
    return [phrase for phrase in phrases if phrase.style and not phrase.prefix]


def spread(phrases: Iterable[Phrase], limit: int = PROMPTS) -> tuple[Phrase, ...]:
    """Distinct phrases, thinned evenly."""
    return tuple(evenly(list(dict.fromkeys(phrases)), limit))


def removal_groups(
    book: PromptBook, judge: Judge, removal: Removal, index: int, removed: Sequence[Removal]
) -> list[Group]:
    """Target, generality and neighbours of one removal."""
    objects, styles = book.kept_names(removed)
    asks: Asks = removal.concept.kind
    near = neighbours(judge, removal, objects if asks == "object" else styles)
    every = [phrase for name in removal.names for phrase in seen(book, removal, name)]
    spelt = () if removal.spellings == "auto" else removal.spellings  # nobody knows whether the model reads a made one
    rarely = [phrase for name in spelt for phrase in seen(book, removal, name)]
    beside = [phrase for name in near for phrase in evenly(ordinary(seen(book, removal, name)), 4)]
    return [
        Group("target", index, asks, spread(every), removal.concept.subject),
        Group(
            "generality",
            index,
            asks,
            spread(book.held_out(p for p in every + rarely if p.style)),
            removal.concept.subject,
        ),
        Group("neighbours", index, asks, spread(beside, PROMPTS * 2)),
    ]


def retain_groups(book: PromptBook, removed: Sequence[Removal], limit: int) -> list[Group]:
    """Kept objects in kept styles, in held-out wordings; asked for both."""
    styled = [phrase for phrase in book.retained(removed) if phrase.style]
    phrases = spread(book.held_out(styled), limit)
    return [Group("retain", None, "object", phrases), Group("retain", None, "style", phrases)] if phrases else []


def all_groups(
    book: PromptBook, judge: Judge, removals: Sequence[Removal], retain: int, removed: Sequence[Removal] = ()
) -> list[Group]:
    """Every group of a request.

    Args:
        removed: all that the weights no longer draw, where that is more than ``removals``: what others removed is neither
            asked about nor expected to stay.
    """
    gone = removed or removals
    own = [g for i, removal in enumerate(removals) for g in removal_groups(book, judge, removal, i, gone)]
    return own + retain_groups(book, gone, retain)
