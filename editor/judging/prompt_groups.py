"""Groups of prompts on which an edit is validated: target, generality, neighbours and retain, and what else they must show."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from api_schemas.judging import GroupName
from api_schemas.kinds import PromptSlot, prompt_slot
from editor.generation.config import ImageSpec
from editor.judging.choices import (
    Choices,
    accepted_destinations,
    destination_choices,
    object_choices,
    other_removed_choices,
    removal_choices,
    retain_choices,
)
from editor.judging.judge import Judge
from editor.judging.neighbours import Neighbours, Unrecognised, find_neighbours
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import ConceptKind, Phrase
from editor.prompts.phrase_samples import sample_varied
from editor.prompts.prompt_builder import destination_text, in_wording
from editor.prompts.templates import held_out_wordings

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
    accepts: tuple[str, ...] = ()
    """Names that any image may be recognised as; if empty, each must be recognised as its expected name."""
    references: Mapping[Phrase, str] = field(default_factory=dict)
    """What each prompt should read as after the edit: the base model's images of these show what it should look like."""
    seen: frozenset[Phrase] = frozenset()
    """Phrases that the edit was computed from."""
    rounds: int = 1
    """Number of times that each prompt may be used, with further seeds each time."""

    @property
    def prompts(self) -> list[str]:
        """The texts of the phrases, in order."""
        return [phrase.text() for phrase in self.phrases]

    @property
    def expected_names(self) -> list[str]:
        """The class that a faithful image of each prompt is recognised as."""
        return [self.concept or getattr(phrase, prompt_slot(self.kind)) for phrase in self.phrases]

    @property
    def accepted_names(self) -> list[tuple[str, ...]]:
        """The classes that each prompt's images may be recognised as."""
        return [self.accepts] * len(self.phrases) if self.accepts else [(name,) for name in self.expected_names]

    @property
    def needs_references(self) -> bool:
        """Whether the edited model's images are compared with references, and not with the base model's of the same prompts."""
        return self.name in ("destination", "styled_objects")

    def find_suspects(self, hits: Sequence[float]) -> list[Phrase]:
        """Return the phrases whose images show what must be absent, by the judge, although it may be mistaken.

        It is if it sees the same in the base model's images of what the prompts should read as, or, of another removed concept,
        in those of the prompts themselves.
        """
        if self.name not in ("target", "generality", "other_removed"):
            return []
        shown = (phrase for phrase, hit in zip(self.phrases, hits, strict=True) if hit)
        return [phrase for phrase in shown if phrase in self.references or self.name == "other_removed"]

    def class_names(self, judge: Judge) -> Sequence[str]:
        """Return the classes that the judge chooses from."""
        return self.choices.names if self.choices else judge.class_names(self.kind, self.expected_names)

    def specs(self, seeds: Sequence[int]) -> list[ImageSpec]:
        """Return each prompt at each seed."""
        return [ImageSpec(prompt, seed) for prompt in self.prompts for seed in seeds]

    def reference_specs(self, phrases: Iterable[Phrase], seeds: Sequence[int]) -> list[ImageSpec]:
        """Return the reference of each phrase at each seed; of phrases without one, the phrase itself."""
        texts = (self.references.get(phrase) or phrase.text() for phrase in phrases)
        return [ImageSpec(text, seed) for text in texts for seed in seeds]


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
    return with_suffixes(builder, in_every_wording(builder, phrases, kind))


def in_every_wording(builder: PromptBuilder, phrases: Iterable[Phrase], kind: ConceptKind) -> list[Phrase]:
    """Return the same subjects, those that are in a style, in every held-out wording."""
    wordings = held_out_wordings(builder.profile, kind)
    return [in_wording(phrase, wording) for phrase in phrases if phrase.style for wording in wordings]


def top_up(first: Sequence[Phrase], more: Sequence[Phrase], limit: int) -> tuple[Phrase, ...]:
    """Return ``first``, topped up from ``more`` to at most ``limit`` phrases."""
    known = frozenset(first)
    taken = sample_varied(first, limit)
    rest = [phrase for phrase in dict.fromkeys(more) if phrase not in known]
    return taken + sample_varied(rest, limit - len(taken), taken) if rest and len(taken) < limit else taken


def removal_groups(
    builder: PromptBuilder,
    judge: Judge,
    removal: ResolvedRemoval,
    index: int,
    active_removals: Sequence[ResolvedRemoval],
    max_prompts: int = MAX_GROUP_PROMPTS,
    unrecognised: Unrecognised = frozenset(),
) -> list[PromptGroup]:
    """Return the groups of one removal: target, generality, neighbours, and what its images must show and must not."""
    kind, neighbours = removal.concept.kind, find_neighbours(judge, builder, removal, active_removals, unrecognised)
    subject, same_kind = removal.concept.subject, neighbours.names if neighbours.kind == kind else []
    named, reworded, seen = removal_phrases(builder, removal, max_prompts)
    own = removal_choices(judge, kind, removal, same_kind, [subject])
    near = removal_choices(judge, neighbours.kind, removal, neighbours.names, neighbours.names)
    shown = neighbour_phrases(builder, neighbours, max_prompts)
    references = find_references((*named, *reworded), removal, active_removals)
    return [
        PromptGroup("target", index, kind, named, subject, own, references=references, seen=seen),
        PromptGroup("generality", index, kind, reworded, subject, own, references=references),
        PromptGroup("neighbours", index, neighbours.kind, shown, choices=near, removal_kind=kind),
        *outcome_groups(judge, removal, index, active_removals, named, reworded, same_kind, references),
    ]


def removal_phrases(
    builder: PromptBuilder, removal: ResolvedRemoval, limit: int
) -> tuple[tuple[Phrase, ...], tuple[Phrase, ...], frozenset[Phrase]]:
    """Return the prompts that name a removed concept, in wordings that the edit used and in held-out ones.

    At most half of the first are prompts that the edit was computed from, which are returned too, if there are others.
    """
    kind = removal.concept.kind
    seen = [phrase for name in removal.names for phrase in edited_phrases(builder, kind, name)]
    # Generated spellings are not tested, because the base model may not understand them.
    spellings = () if removal.spellings == "auto" else removal.spellings
    spelt = [phrase for name in spellings for phrase in edited_phrases(builder, kind, name)]
    natural = with_suffixes(builder, [*natural_phrases(seen, kind), *in_styled_wordings(builder, seen)])
    unseen = [phrase for phrase in natural if phrase not in frozenset(seen)]
    named = top_up(sample_varied(seen, max(limit // 2, limit - len(unseen))), unseen, limit)
    reworded = sample_varied(held_out_phrases(builder, seen + spelt, kind), limit)
    return named, reworded, frozenset(seen)


def in_styled_wordings(builder: PromptBuilder, phrases: Iterable[Phrase]) -> list[Phrase]:
    """Return the subjects of phrases that name a style, in every wording that edits use."""
    styled, wordings = [phrase for phrase in phrases if phrase.style], builder.profile.styled_wordings
    return [in_wording(phrase, wording) for phrase in styled for wording in wordings]


def outcome_groups(
    judge: Judge,
    removal: ResolvedRemoval,
    index: int,
    active_removals: Sequence[ResolvedRemoval],
    named: Sequence[Phrase],
    reworded: Sequence[Phrase],
    neighbours: Sequence[str],
    references: Mapping[Phrase, str],
) -> list[PromptGroup]:
    """Return the groups that ask what the concept's prompts show after the edit, on the same images.

    The replacement; under a removed style the object; and no other removed concept. Absent are groups that have nothing to ask.
    """
    kind, others = removal.concept.kind, other_removals(removal, active_removals)
    compared = tuple(phrase for phrase in reworded if phrase in references)
    groups = []
    if compared and (accepts := accepted_destinations(judge.profile, removal, others)):
        choices = destination_choices(judge, removal, neighbours, accepts)
        groups.append(PromptGroup("destination", index, kind, compared, None, choices, None, accepts, references))
    if kind == "style" and (intact := objects_intact(compared, others)):
        choices = object_choices(judge, [phrase.object for phrase in intact])
        groups.append(PromptGroup("styled_objects", index, "object", intact, None, choices, "style", (), references))
    if same := [one.concept.subject for one in others if one.concept.kind == kind != "unsafe"]:
        choices, phrases = other_removed_choices(judge, removal, neighbours, same), dict.fromkeys((*named, *reworded))
        groups.append(PromptGroup("other_removed", index, kind, (*phrases,), None, choices, None, (*same,), references))
    return groups


def other_removals(removal: ResolvedRemoval, removals: Sequence[ResolvedRemoval]) -> list[ResolvedRemoval]:
    """Return the removals of other concepts."""
    return [one for one in removals if one.concept != removal.concept]


def find_references(
    phrases: Iterable[Phrase], removal: ResolvedRemoval, active_removals: Sequence[ResolvedRemoval]
) -> dict[Phrase, str]:
    """Return what each phrase should read as after all removals; phrases that become the empty prompt are left out."""
    slot: PromptSlot = "object" if removal.concept.kind == "style" else "style"
    by_name = removals_by_name(other_removals(removal, active_removals), slot)
    texts = {phrase: reference_text(phrase, removal, by_name.get(getattr(phrase, slot))) for phrase in phrases}
    return {phrase: text for phrase, text in texts.items() if text}


def removals_by_name(removals: Sequence[ResolvedRemoval], slot: PromptSlot) -> dict[str, ResolvedRemoval]:
    """Return the removal of each name that takes a slot of a prompt."""
    return {name: one for one in removals if prompt_slot(one.concept.kind) == slot for name in one.names}


def reference_text(phrase: Phrase, removal: ResolvedRemoval, other: ResolvedRemoval | None) -> str:
    """Return the prompt that a phrase should read as after a removal, and after that of what takes its other slot.

    Empty for the empty prompt.
    """
    if other and other.concept.kind != "style" and not other.destination.words:
        return ""
    remaining = phrase.about(other.concept.kind, other.destination.words) if other else phrase
    return destination_text(remaining, removal)


def objects_intact(phrases: Sequence[Phrase], others: Sequence[ResolvedRemoval]) -> tuple[Phrase, ...]:
    """Keep phrases whose object is not removed itself."""
    removed = {name for one in others for name in one.names}
    return tuple(phrase for phrase in phrases if phrase.object not in removed)


def neighbour_phrases(builder: PromptBuilder, neighbours: Neighbours, limit: int) -> tuple[Phrase, ...]:
    """Return at most ``limit`` natural phrases, an equal share about each neighbour."""
    kind = neighbours.kind
    natural = [
        phrase for name in neighbours.names for phrase in natural_phrases(edited_phrases(builder, kind, name), kind)
    ]
    return sample_varied(with_suffixes(builder, natural), limit)


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
    sampled = sample_varied(in_every_wording(builder, retained, "object"), max_prompts)
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
    top_up: int = 1,
) -> list[PromptGroup]:
    """Return every group of a request.

    Args:
        max_retain_prompts: limit of unrelated prompts.
        active_removals: all active removals of the ledger, if there are more than ``removals``. Earlier ones are neither
            tested nor expected to be retained.
        max_removal_prompts: limit of each group of a removal.
        unrecognised: concepts that the judge does not recognise in images of the base model, which are left out.
        top_up: how many times the limits may be used: for further prompts, then for the same ones with further seeds.
    """
    active, limit = active_removals or removals, top_up * max_removal_prompts
    own = [
        group
        for index, removal in enumerate(removals)
        for group in removal_groups(builder, judge, removal, index, active, limit, unrecognised)
    ]
    retained = retain_groups(builder, judge, active, top_up * max_retain_prompts, unrecognised)
    limits = {"retain": top_up * max_retain_prompts, "other_removed": 2 * limit}
    return [with_rounds(group, limits.get(group.name, limit), top_up) for group in own + retained]


def with_rounds(group: PromptGroup, limit: int, most: int) -> PromptGroup:
    """Return the group with as many rounds as a limit of prompts allows, at most ``most``."""
    return replace(group, rounds=max(1, min(most, limit // max(len(group.phrases), 1))))
