"""The retained concepts that are most like a removed one."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from editor.judging.judge import Judge
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import ConceptKind

MAX_NEIGHBOURS = 8
MAX_COMPARED_NAMES = 300
"""Names that are all compared with a removed concept. Of more, only those of the nearest groups are: a judge needs seconds for
thousands of descriptions."""
COMPARED_GROUPS = 4
"""Groups that are compared if the concept's own and those of the same parent have too few names."""
Unrecognised = frozenset[tuple[ConceptKind, str]]
"""Names, with their kind, that the judge does not recognise in images of the base model."""


@dataclass(frozen=True)
class Neighbours:
    """Names of one kind: the removed concept's, or objects if the profile has no other names of that kind."""

    kind: ConceptKind
    names: list[str]


def find_neighbours(
    judge: Judge,
    builder: PromptBuilder,
    removal: ResolvedRemoval,
    active_removals: Sequence[ResolvedRemoval],
    unrecognised: Unrecognised = frozenset(),
) -> Neighbours:
    """Return the neighbours of a removed concept.

    Args:
        active_removals: all removals whose names are not retained.
        unrecognised: names, with their kind, that the judge does not recognise in images of the base model.
    """
    own = removal.concept.kind
    kind: ConceptKind = own if builder.retained_names(own, active_removals) else "object"
    retained = [name for name in builder.retained_names(kind, active_removals) if (kind, name) not in unrecognised]
    return Neighbours(kind, nearest_names(judge, removal, kind, retained))


def nearest_names(judge: Judge, removal: ResolvedRemoval, kind: ConceptKind, retained: Sequence[str]) -> list[str]:
    """Return the names to protect: those that the request preserves, then those most similar to the concept by the judge.

    Of a long list, names of the concept's group come first.
    """
    listed = {*retained}
    chosen = [name for name in dict.fromkeys(removal.preserve) if name in listed]
    for candidates in candidate_tiers(judge, removal, kind, retained):
        if (missing := MAX_NEIGHBOURS - len(chosen)) <= 0:
            break
        chosen += most_similar(judge, removal, kind, [name for name in candidates if name not in chosen])[:missing]
    return chosen


def candidate_tiers(
    judge: Judge, removal: ResolvedRemoval, kind: ConceptKind, retained: Sequence[str]
) -> Iterator[list[str]]:
    """Yield the names to compare with a concept: all; or of a long list its group, groups of the same parent, and others.

    The others are the groups whose first names the judge finds most similar.
    """
    if len(retained) <= MAX_COMPARED_NAMES:
        yield list(retained)
        return
    profile, listed = judge.profile, {*retained}
    groups = {group: [name for name in names if name in listed] for group, names in profile.groups_of(kind).items()}
    own = next((group for name in removal.names if (group := profile.group_of(kind, name))), None)
    parent = profile.parents.get(own or "")
    related = [group for group in groups if parent and group != own and profile.parents.get(group) == parent]
    yield groups[own] if own else []
    yield [name for group in related for name in groups[group]]
    others = {names[0]: names for group, names in groups.items() if names and group not in (own, *related)}
    nearest = most_similar(judge, removal, kind, list(others))[:COMPARED_GROUPS]
    yield [name for first in nearest for name in others[first]]


def most_similar(judge: Judge, removal: ResolvedRemoval, kind: ConceptKind, names: Sequence[str]) -> list[str]:
    """Return names by their similarity to the removed concept, the most similar first."""
    own = judge.embed_class(removal.concept.kind, removal.concept.subject)
    similarity = {name: class_affinity(own, rows) for name, rows in judge.embed_classes(kind, names).items()}
    return sorted(names, key=lambda name: -similarity[name])


def class_affinity(first: Tensor, second: Tensor) -> float:
    """Return the mean similarity of two classes ``(contexts, d)``: context by context, or of the means if they differ."""
    if first.shape != second.shape:
        first, second = first.mean(0, keepdim=True), second.mean(0, keepdim=True)
    return float((first * second).sum(1).mean())
