"""Groups of prompts on which an edit is validated: target, generality, neighbours and retain."""

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
"""Default limit of a group of a removal. With fewer than 73 prompts, 0 hits do not show a rate below 5 %."""
MAX_NEIGHBOURS = 8


@dataclass(frozen=True)
class PromptGroup:
    """Prompts and the attribute, object or style, that their images are classified by."""

    name: GroupName
    removal: int | None
    kind: ConceptKind
    phrases: tuple[Phrase, ...]
    concept: str | None = None
    """Name expected in every image, whichever alias its prompt uses; None if each prompt expects its own object or style."""

    @property
    def prompts(self) -> list[str]:
        """The texts of the phrases, in order."""
        return [phrase.text() for phrase in self.phrases]

    @property
    def expected_names(self) -> list[str]:
        """The class that a faithful image of each prompt is recognised as."""
        return [self.concept or getattr(phrase, self.kind) for phrase in self.phrases]


def neighbour_names(judge: Judge, removal: ResolvedRemoval, retained: Sequence[str]) -> list[str]:
    """Return the names to protect: those that the request preserves, then those most similar to the concept by the judge."""
    kind = removal.concept.kind
    own = judge.embed_class(kind, removal.concept.subject)
    similarity = {name: float((judge.embed_class(kind, name) * own).sum(1).mean()) for name in retained}
    given = [name for name in removal.preserve if name in similarity]
    nearest = sorted((name for name in retained if name not in given), key=lambda name: -similarity[name])
    return given + nearest[: max(MAX_NEIGHBOURS - len(given), 0)]


def edited_phrases(builder: PromptBuilder, removal: ResolvedRemoval, name: str) -> list[Phrase]:
    """Return the phrases about ``name`` that the edit itself is computed from."""
    return [phrase for phrase in builder.contexts(removal.concept.kind, name) if builder.fits(phrase.text())]


def natural_phrases(phrases: Iterable[Phrase]) -> list[Phrase]:
    """Keep phrases with a style and without a prefix, because a prefix that confuses the model would mask the edit's effect."""
    return [phrase for phrase in phrases if phrase.style and not phrase.prefix]


def with_suffixes(builder: PromptBuilder, phrases: Iterable[Phrase]) -> list[Phrase]:
    """Return the phrases as they are, then with each suffix, as far as they fit the text encoder's context."""
    suffixes = ("", *(suffix for suffix in builder.profile.suffixes if suffix))
    variants = [replace(phrase, suffix=suffix) for suffix, phrase in product(suffixes, list(phrases))]
    return [phrase for phrase in dict.fromkeys(variants) if builder.fits(phrase.text())]


def held_out_phrases(builder: PromptBuilder, phrases: Sequence[Phrase]) -> list[Phrase]:
    """Return the same subjects in every held-out wording, with and without suffixes."""
    bare = [replace(phrase, prefix="", suffix="") for phrase in phrases if phrase.style]
    wordings = builder.profile.held_out_wordings
    return with_suffixes(builder, [replace(phrase, wording=wording) for phrase in bare for wording in wordings])


def sample_evenly(phrases: Iterable[Phrase], limit: int = MAX_GROUP_PROMPTS) -> tuple[Phrase, ...]:
    """Return at most ``limit`` distinct phrases, evenly spaced."""
    return tuple(evenly_spaced(list(dict.fromkeys(phrases)), limit))


def top_up(first: Sequence[Phrase], more: Sequence[Phrase], limit: int) -> tuple[Phrase, ...]:
    """Return ``first``, topped up from ``more`` to at most ``limit`` phrases."""
    known = frozenset(first)
    taken = sample_evenly(first, limit)
    rest = [phrase for phrase in dict.fromkeys(more) if phrase not in known]
    return taken + sample_evenly(rest, limit - len(taken)) if rest and len(taken) < limit else taken


def removal_groups(
    builder: PromptBuilder,
    judge: Judge,
    removal: ResolvedRemoval,
    index: int,
    active_removals: Sequence[ResolvedRemoval],
    max_prompts: int = MAX_GROUP_PROMPTS,
) -> list[PromptGroup]:
    """Return the target, generality and neighbours groups of one removal."""
    kind: ConceptKind = removal.concept.kind
    objects, styles = builder.retained_names(active_removals)
    neighbours = neighbour_names(judge, removal, objects if kind == "object" else styles)
    target = [phrase for name in removal.names for phrase in edited_phrases(builder, removal, name)]
    # Generated spellings are not tested, because the base model may not understand them.
    spellings = () if removal.spellings == "auto" else removal.spellings
    spelt = [phrase for name in spellings for phrase in edited_phrases(builder, removal, name)]
    share = -(-max_prompts // max(len(neighbours), 1))
    near = [
        phrase
        for name in neighbours
        for phrase in evenly_spaced(
            with_suffixes(builder, natural_phrases(edited_phrases(builder, removal, name))), share
        )
    ]
    subject = removal.concept.subject
    named = top_up(target, with_suffixes(builder, natural_phrases(target)), max_prompts)
    reworded = sample_evenly(held_out_phrases(builder, target + spelt), max_prompts)
    return [
        PromptGroup("target", index, kind, named, subject),
        PromptGroup("generality", index, kind, reworded, subject),
        PromptGroup("neighbours", index, kind, sample_evenly(near, max_prompts)),
    ]


def retain_groups(
    builder: PromptBuilder, active_removals: Sequence[ResolvedRemoval], max_prompts: int
) -> list[PromptGroup]:
    """Return two groups of the same prompts, retained objects in retained styles, classified by object and by style.

    Empty if ``max_prompts`` is 0.
    """
    styled = [phrase for phrase in builder.retain_phrases(active_removals) if phrase.style]
    phrases = sample_evenly(builder.in_held_out_wordings(styled), max_prompts)
    kinds: tuple[ConceptKind, ...] = ("object", "style") if phrases else ()
    return [PromptGroup("retain", None, kind, phrases) for kind in kinds]


def request_groups(
    builder: PromptBuilder,
    judge: Judge,
    removals: Sequence[ResolvedRemoval],
    max_retain_prompts: int,
    active_removals: Sequence[ResolvedRemoval] = (),
    max_removal_prompts: int = MAX_GROUP_PROMPTS,
) -> list[PromptGroup]:
    """Return every group of a request.

    Args:
        max_retain_prompts: limit of unrelated prompts.
        active_removals: all active removals of the ledger, if there are more than ``removals``. Earlier ones are neither
            tested nor expected to be retained.
        max_removal_prompts: limit of each group of a removal.
    """
    active = active_removals or removals
    own = [
        g
        for i, removal in enumerate(removals)
        for g in removal_groups(builder, judge, removal, i, active, max_removal_prompts)
    ]
    return own + retain_groups(builder, active, max_retain_prompts)
