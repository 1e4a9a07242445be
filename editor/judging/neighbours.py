"""The retained concepts that are most like a removed one."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from editor.judging.judge import Judge
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import ConceptKind

MAX_NEIGHBOURS = 8
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
    """Return the names to protect: those that the request preserves, then those most similar to the concept by the judge."""
    own = judge.embed_class(removal.concept.kind, removal.concept.subject)
    similarity = {name: class_affinity(own, rows) for name, rows in judge.embed_classes(kind, retained).items()}
    given = [name for name in removal.preserve if name in similarity]
    nearest = sorted((name for name in retained if name not in given), key=lambda name: -similarity[name])
    return given + nearest[: max(MAX_NEIGHBOURS - len(given), 0)]


def class_affinity(first: Tensor, second: Tensor) -> float:
    """Return the mean similarity of two classes ``(contexts, d)``: context by context, or of the means if they differ."""
    if first.shape != second.shape:
        first, second = first.mean(0, keepdim=True), second.mean(0, keepdim=True)
    return float((first * second).sum(1).mean())
