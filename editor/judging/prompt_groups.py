"""Groups of prompts on which an edit is validated: target, generality, neighbours and retain."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from api_schemas.kinds import prompt_slot
from editor.judging.choices import Choices, removal_choices, retain_choices
from editor.judging.judge import Judge
from editor.judging.neighbours import Neighbours, Unrecognised, find_neighbours
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.prompt_builder import in_wording
from editor.prompts.templates import evenly_spaced, held_out_wordings

GroupName = Literal["target", "generality", "neighbours", "retain"]
MAX_GROUP_PROMPTS = 192
"""Default limit of a group of a removal. With fewer than 73 prompts, 0 hits do not show a rate below 5 %."""

MAX_RETAINED_NAMES: Mapping[ConceptKind, int] = {"object": 96, "style": 16}
"""Names in the retained prompts, each of which may have to be recognised in images of the base model first."""


@dataclass(frozen=True)
class PromptGroup:
    """Prompts and the attribute, object or style, that their images are classified by."""

    name: GroupName
    removal: int | None
    kind: ConceptKind
    phrases: tuple[Phrase, ...]
    concept: str | None = None
    """Name expected in every image, whichever alias its prompt uses; None if each prompt expects its own object or style."""
    choices: Choices | None = None
    """The classes that the judge chooses from; None for all names of the kind."""
    removal_kind: ConceptKind | None = None
    """Kind of the removal, whose gates the group decides; None if it is the group's."""

    @property
    def prompts(self) -> list[str]:
        """The texts of the phrases, in order."""
        return [phrase.text() for phrase in self.phrases]

    @property
    def expected_names(self) -> list[str]:
        """The class that a faithful image of each prompt is recognised as."""
        return [self.concept or getattr(phrase, prompt_slot(self.kind)) for phrase in self.phrases]


def edited_phrases(builder: PromptBuilder, kind: ConceptKind, name: str) -> list[Phrase]:
    """Return the phrases about ``name`` that the edit itself is computed from."""
    return [phrase for phrase in builder.contexts(kind, name) if builder.fits(phrase.text())]


def natural_phrases(phrases: Iterable[Phrase], kind: ConceptKind) -> list[Phrase]:
    """Keep phrases without a prefix, because a prefix that confuses the model would mask the edit's effect.

    Phrases about objects and styles must name a style.
    """
    needs_style = kind in ("object", "style")
    return [phrase for phrase in phrases if not phrase.prefix and (phrase.style or not needs_style)]


def with_suffixes(builder: PromptBuilder, phrases: Iterable[Phrase]) -> list[Phrase]:
    """Return the phrases as they are, then with each suffix, as far as they fit the text encoder's context."""
    suffixes = ("", *(suffix for suffix in builder.profile.suffixes if suffix))
    variants = [replace(phrase, suffix=suffix) for suffix, phrase in product(suffixes, list(phrases))]
    return [phrase for phrase in dict.fromkeys(variants) if builder.fits(phrase.text())]


def held_out_phrases(builder: PromptBuilder, phrases: Sequence[Phrase], kind: ConceptKind) -> list[Phrase]:
    """Return the same subjects in every held-out wording, with and without suffixes."""
    styled, wordings = [phrase for phrase in phrases if phrase.style], held_out_wordings(builder.profile, kind)
    return with_suffixes(builder, [in_wording(phrase, wording) for phrase in styled for wording in wordings])


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
    unrecognised: Unrecognised = frozenset(),
) -> list[PromptGroup]:
    """Return the target, generality and neighbours groups of one removal."""
    kind, neighbours = removal.concept.kind, find_neighbours(judge, builder, removal, active_removals, unrecognised)
    target = [phrase for name in removal.names for phrase in edited_phrases(builder, kind, name)]
    # Generated spellings are not tested, because the base model may not understand them.
    spellings = () if removal.spellings == "auto" else removal.spellings
    spelt = [phrase for name in spellings for phrase in edited_phrases(builder, kind, name)]
    subject, same_kind = removal.concept.subject, neighbours.names if neighbours.kind == kind else []
    named = top_up(target, with_suffixes(builder, natural_phrases(target, kind)), max_prompts)
    reworded = sample_evenly(held_out_phrases(builder, target + spelt, kind), max_prompts)
    own = removal_choices(judge, kind, removal, same_kind, [subject])
    near = removal_choices(judge, neighbours.kind, removal, neighbours.names, neighbours.names)
    return [
        PromptGroup("target", index, kind, named, subject, own),
        PromptGroup("generality", index, kind, reworded, subject, own),
        PromptGroup(
            "neighbours",
            index,
            neighbours.kind,
            neighbour_phrases(builder, neighbours, max_prompts),
            choices=near,
            removal_kind=kind,
        ),
    ]


def neighbour_phrases(builder: PromptBuilder, neighbours: Neighbours, limit: int) -> tuple[Phrase, ...]:
    """Return at most ``limit`` natural phrases, an equal share about each neighbour."""
    share = -(-limit // max(len(neighbours.names), 1))
    by_name = (
        natural_phrases(edited_phrases(builder, neighbours.kind, name), neighbours.kind) for name in neighbours.names
    )
    return sample_evenly(
        (phrase for phrases in by_name for phrase in evenly_spaced(with_suffixes(builder, phrases), share)), limit
    )


def retain_groups(
    builder: PromptBuilder,
    judge: Judge,
    active_removals: Sequence[ResolvedRemoval],
    max_prompts: int,
    unrecognised: Unrecognised = frozenset(),
) -> list[PromptGroup]:
    """Return two groups of the same prompts, retained objects in retained styles, classified by object and by style.

    Empty if ``max_prompts`` is 0.
    """
    retained = builder.retain_phrases(active_removals, MAX_RETAINED_NAMES)
    styled = [phrase for phrase in retained if phrase.style]
    sampled = sample_evenly(builder.in_held_out_wordings(styled), max_prompts)
    phrases = tuple(
        phrase for phrase in sampled if unrecognised.isdisjoint({("object", phrase.object), ("style", phrase.style)})
    )
    kinds: tuple[ConceptKind, ...] = ("object", "style") if sampled else ()
    groups = [PromptGroup("retain", None, kind, phrases) for kind in kinds]
    return [
        replace(group, choices=retain_choices(judge, group.kind, group.expected_names, active_removals))
        for group in groups
    ]


def request_groups(
    builder: PromptBuilder,
    judge: Judge,
    removals: Sequence[ResolvedRemoval],
    max_retain_prompts: int,
    active_removals: Sequence[ResolvedRemoval] = (),
    max_removal_prompts: int = MAX_GROUP_PROMPTS,
    unrecognised: Unrecognised = frozenset(),
) -> list[PromptGroup]:
    """Return every group of a request.

    Args:
        max_retain_prompts: limit of unrelated prompts.
        active_removals: all active removals of the ledger, if there are more than ``removals``. Earlier ones are neither
            tested nor expected to be retained.
        max_removal_prompts: limit of each group of a removal.
        unrecognised: concepts that the judge does not recognise in images of the base model, which are left out.
    """
    active = active_removals or removals
    own = [
        group
        for index, removal in enumerate(removals)
        for group in removal_groups(builder, judge, removal, index, active, max_removal_prompts, unrecognised)
    ]
    return own + retain_groups(builder, judge, active, max_retain_prompts, unrecognised)
