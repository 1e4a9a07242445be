"""Which names a judge tells apart from a removed concept, so that an image of one cannot count as one of the other."""

from collections.abc import Mapping, Sequence

from editor.judging.judge import Judge
from editor.judging.neighbours import class_affinity, nearest_names
from editor.prompts import PromptBuilder, ResolvedRemoval

MARGIN = 0.5
"""A name is told apart if it is at least this share of the mean distance of all compared names from the concept."""


def similarities(judge: Judge, removal: ResolvedRemoval, names: Sequence[str]) -> dict[str, float]:
    """Return the judge's similarity of each object to a removed one."""
    own = judge.embed_class("object", removal.concept.subject)
    return {name: class_affinity(own, rows) for name, rows in judge.embed_classes("object", names).items()}


def told_apart(similarity: Mapping[str, float]) -> set[str]:
    """Return the names that are not too similar to the concept, given the similarity of each compared name."""
    if not similarity:
        return set()
    mean_distance = 1 - sum(similarity.values()) / len(similarity)
    return {name for name, value in similarity.items() if 1 - value >= MARGIN * mean_distance}


def similar_names(judge: Judge, builder: PromptBuilder, removal: ResolvedRemoval) -> list[str]:
    """Return the retained objects that are most similar to a concept that the profile does not list."""
    return nearest_names(judge, removal, "object", builder.retained_names("object", [removal]))
