"""The classes that a judge chooses from when it recognises what an image shows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from api_schemas.judging import ChoiceRecord, ChoiceRule
from api_schemas.kinds import prompt_slot
from editor.judging.judge import Judge
from editor.prompts import Profile, ResolvedRemoval
from editor.prompts.concepts import ConceptKind
from editor.prompts.templates import evenly_spaced

MAX_OTHER_GROUPS = 8
"""Names of other groups among the choices, for images that show neither the concept nor a neighbour."""

GENERIC_CLASSES: Mapping[ConceptKind, tuple[str, ...]] = {
    "person": ("man", "woman"),
    "character": ("man", "woman", "cartoon character"),
    "brand": ("logo", "product"),
}
"""Classes of which the concept is one, for images that show another: any woman is not the removed one."""


@dataclass(frozen=True)
class Choices:
    """The names that an image is classified as."""

    rule: ChoiceRule
    names: tuple[str, ...]

    def record(self) -> ChoiceRecord:
        """Return the record for the report, with the names unless they are all of a kind."""
        return ChoiceRecord(rule=self.rule, count=len(self.names), names=[] if self.rule == "all" else list(self.names))


def removal_choices(
    judge: Judge, kind: ConceptKind, removal: ResolvedRemoval, neighbours: Sequence[str], expected: Sequence[str]
) -> Choices:
    """Return the classes for the images about a removed concept or its neighbours, which are of ``kind``.

    Other names of the concept are left out: an image of a vixen shows the fox.
    """
    aliases = {name.casefold() for name in removal.names[1:]}
    if judge.profile.judging.choices == "all" and judge.profile.names_of(kind):
        return Choices("all", without(judge.class_names(kind, expected), aliases))
    named = [*expected, *own_names(kind, removal), *neighbours, *destination_names(kind, removal)]
    named += GENERIC_CLASSES.get(kind, ())
    others = evenly_spaced([*group_representatives(judge.profile, kind)], MAX_OTHER_GROUPS)
    return Choices("neighbours", without([*named, *others], aliases))


def accepted_destinations(
    profile: Profile, removal: ResolvedRemoval, others: Sequence[ResolvedRemoval]
) -> tuple[str, ...]:
    """Return the names that show a removal's replacement: its own, and of a parent class those of its members.

    Empty for the null concept, and for a replacement of another kind than the concept. Removed names are left out.
    """
    named = destination_names(removal.concept.kind, removal)
    removed = {name.casefold() for one in (removal, *others) for name in one.names}
    members = profile.members_of({name.casefold() for name in named}) if removal.concept.kind != "style" else ()
    return without([*named, *members], removed)


def destination_choices(
    judge: Judge, removal: ResolvedRemoval, neighbours: Sequence[str], accepted: Sequence[str]
) -> Choices:
    """Return the classes for images that should show a removal's replacement: those of the concept, and the replacement."""
    kind = removal.concept.kind
    own = removal_choices(judge, kind, removal, neighbours, [removal.concept.subject])
    return Choices(own.rule, without([*own.names, *accepted], set()))


def other_removed_choices(
    judge: Judge, removal: ResolvedRemoval, neighbours: Sequence[str], others: Sequence[str]
) -> Choices:
    """Return the classes for images that should show no other removed concept: those of the replacement, and the others."""
    accepted = [*destination_names(removal.concept.kind, removal), *others]
    return destination_choices(judge, removal, neighbours, accepted)


def object_choices(judge: Judge, expected: Sequence[str]) -> Choices:
    """Return the classes for the objects in prompts that name a removed style."""
    return retain_choices(judge, "object", expected, ())


def retain_choices(
    judge: Judge, kind: ConceptKind, expected: Sequence[str], removals: Sequence[ResolvedRemoval]
) -> Choices:
    """Return the classes for the images of retained prompts: all names, or those in the prompts and what was removed."""
    if judge.profile.judging.choices == "all":
        return Choices("all", tuple(judge.class_names(kind, expected)))
    removed = [name for removal in removals for name in (*own_names(kind, removal), *destination_names(kind, removal))]
    return Choices("prompts", without([*expected, *removed], set()))


def own_names(kind: ConceptKind, removal: ResolvedRemoval) -> list[str]:
    """Return the name of a removed concept, if it is of the kind that is classified: a person is not described as an object."""
    return [removal.concept.subject] if removal.concept.kind == kind else []


def destination_names(kind: ConceptKind, removal: ResolvedRemoval) -> list[str]:
    """Return the replacement or parent class of a removal, if it is of the kind that is classified."""
    same = prompt_slot(kind) == prompt_slot(removal.concept.kind)
    return [removal.destination.words] if same and removal.destination.words else []


def group_representatives(profile: Profile, kind: ConceptKind) -> Iterator[str]:
    """Yield one name of each group of the profile; styles are a single group, so all are yielded."""
    groups = profile.groups_of(kind) or profile.objects
    yield from (profile.styles if kind == "style" else [names[0] for names in groups.values() if names])


def without(names: Sequence[str], left_out: set[str]) -> tuple[str, ...]:
    """Return distinct names in order, without some, compared in lower case."""
    return tuple(name for name in dict.fromkeys(names) if name.casefold() not in left_out)
