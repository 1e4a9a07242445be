"""Which prompts are judged: the concept, wordings the edit never saw, the nearest neighbours, and everything else."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from editor.judging.judge import Judge
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.templates import evenly_spaced

GroupName = Literal["target", "generality", "neighbours", "retain"]
MAX_GROUP_PROMPTS = 192
"""Prompts in a target, generality or neighbours group, at most. Fewer than 73 can't tell 0 in n from one in twenty."""
MAX_NEIGHBOURS = 8


@dataclass(frozen=True)
class PromptGroup:
    """Prompts of one kind and the question that is asked of their images."""

    name: GroupName
    removal: int | None
    kind: ConceptKind
    phrases: tuple[Phrase, ...]
    concept: str | None = None
    """What every prompt is about, whichever alias it uses."""

    @property
    def prompts(self) -> list[str]:
        """The prompts, in order."""
        return [phrase.text() for phrase in self.phrases]

    @property
    def expected_names(self) -> list[str]:
        """What a faithful image of each prompt shows."""
        return [self.concept or getattr(phrase, self.kind) for phrase in self.phrases]


def neighbour_names(judge: Judge, removal: ResolvedRemoval, kept: Sequence[str]) -> list[str]:
    """Names that must stay: those that the caller gave, then those that the judge finds most like the concept."""
    kind, own = (
        removal.concept.kind,
        judge.embed_class(removal.concept.kind, removal.concept.subject),
    )
    similarity = {name: float((judge.embed_class(kind, name) * own).sum(1).mean()) for name in kept}
    given = [name for name in removal.preserve if name in similarity]
    nearest = sorted((name for name in kept if name not in given), key=lambda name: -similarity[name])
    return given + nearest[: max(MAX_NEIGHBOURS - len(given), 0)]


def edited_phrases(book: PromptBuilder, removal: ResolvedRemoval, name: str) -> list[Phrase]:
    """Contexts of the edit around ``name``."""
    return [phrase for phrase in book.contexts(removal.concept.kind, name) if book.fits(phrase.text())]


def natural_phrases(phrases: Iterable[Phrase]) -> list[Phrase]:
    """Styled phrases as people write them: a model that stumbles over a prefix would hide what the edit does."""
    return [phrase for phrase in phrases if phrase.style and not phrase.prefix]


def with_suffixes(book: PromptBuilder, phrases: Iterable[Phrase]) -> list[Phrase]:
    """Each phrase with everything that may follow it, as far as the model reads it; first as it is."""
    suffixes = ("", *(suffix for suffix in book.profile.suffixes if suffix))
    every = [replace(phrase, suffix=suffix) for suffix, phrase in product(suffixes, list(phrases))]
    return [phrase for phrase in dict.fromkeys(every) if book.fits(phrase.text())]


def held_out_phrases(book: PromptBuilder, phrases: Sequence[Phrase]) -> list[Phrase]:
    """The same subjects in every held-out wording."""
    bare = [replace(phrase, prefix="", suffix="") for phrase in phrases if phrase.style]
    wordings = book.profile.held_out_wordings
    return with_suffixes(
        book,
        [replace(phrase, wording=wording) for phrase in bare for wording in wordings],
    )


def sample_evenly(phrases: Iterable[Phrase], limit: int = MAX_GROUP_PROMPTS) -> tuple[Phrase, ...]:
    """Distinct phrases, thinned evenly."""
    return tuple(evenly_spaced(list(dict.fromkeys(phrases)), limit))


def top_up(first: Sequence[Phrase], more: Sequence[Phrase], limit: int) -> tuple[Phrase, ...]:
    """The first, and as many more as there is room for."""
    rest = [phrase for phrase in dict.fromkeys(more) if phrase not in set(first)]
    begun = sample_evenly(first, limit)
    return begun + sample_evenly(rest, limit - len(begun)) if rest and len(begun) < limit else begun


def removal_groups(
    book: PromptBuilder,
    judge: Judge,
    removal: ResolvedRemoval,
    index: int,
    removed: Sequence[ResolvedRemoval],
    limit: int = MAX_GROUP_PROMPTS,
) -> list[PromptGroup]:
    """Target, generality and neighbours of one removal."""
    objects, styles = book.retained_names(removed)
    kind: ConceptKind = removal.concept.kind
    near = neighbour_names(judge, removal, objects if kind == "object" else styles)
    every = [phrase for name in removal.names for phrase in edited_phrases(book, removal, name)]
    spelt = () if removal.spellings == "auto" else removal.spellings  # nobody knows whether the model reads a made one
    rarely = [phrase for name in spelt for phrase in edited_phrases(book, removal, name)]
    share = -(-limit // max(len(near), 1))
    beside = [
        phrase
        for name in near
        for phrase in evenly_spaced(with_suffixes(book, natural_phrases(edited_phrases(book, removal, name))), share)
    ]
    about = removal.concept.subject
    return [
        PromptGroup(
            "target",
            index,
            kind,
            top_up(every, with_suffixes(book, natural_phrases(every)), limit),
            about,
        ),
        PromptGroup(
            "generality",
            index,
            kind,
            sample_evenly(held_out_phrases(book, every + rarely), limit),
            about,
        ),
        PromptGroup("neighbours", index, kind, sample_evenly(beside, limit)),
    ]


def retain_groups(book: PromptBuilder, removed: Sequence[ResolvedRemoval], limit: int) -> list[PromptGroup]:
    """Kept objects in kept styles, in held-out wordings; asked for both."""
    styled = [phrase for phrase in book.retain_phrases(removed) if phrase.style]
    phrases = sample_evenly(book.in_held_out_wordings(styled), limit)
    return (
        [
            PromptGroup("retain", None, "object", phrases),
            PromptGroup("retain", None, "style", phrases),
        ]
        if phrases
        else []
    )


def request_groups(
    book: PromptBuilder,
    judge: Judge,
    removals: Sequence[ResolvedRemoval],
    retain: int,
    removed: Sequence[ResolvedRemoval] = (),
    prompts: int = MAX_GROUP_PROMPTS,
) -> list[PromptGroup]:
    """Every group of a request.

    Args:
        retain: prompts about everything else, at most.
        removed: all that the weights no longer draw, where that is more than ``removals``: what others removed is neither
            asked about nor expected to stay.
        prompts: in each group of a removal, at most.
    """
    gone = removed or removals
    own = [g for i, removal in enumerate(removals) for g in removal_groups(book, judge, removal, i, gone, prompts)]
    return own + retain_groups(book, gone, retain)
