"""Adjustments of a solve, by which a closed loop strengthens or weakens an edit after it was measured.

Adjustments are values: equal removals with equal adjustments give byte-identical weights in any order.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from api_schemas.kinds import ConceptKind
from editor.prompts.concepts import Concept, ResolvedRemoval, WeightedPhrase

Weight = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class Adjustment(BaseModel):
    """Base class of adjustments."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RemovalAdjustment(Adjustment):
    """How much stronger one concept is removed, and in which prompts."""

    concept: str = Field(description="The concept's name or subject.")
    kind: ConceptKind = "object"
    weight: Weight = Field(1.0, description="Factor of all its prompts.")
    phrases: tuple[WeightedPhrase, ...] = Field(
        (),
        description="Further prompts to edit, such as those whose images still showed the concept. Their weights are relative "
        "to all prompts of the concept's own name together.",
    )


class RetainedName(Adjustment):
    """A name that is preserved in further prompts."""

    name: str
    kind: ConceptKind = "object"
    weight: Weight = Field(1.0, description="Weight of each of its prompts relative to an ordinary retain prompt.")


class RetainedPrompt(Adjustment):
    """A prompt that is preserved."""

    prompt: str
    weight: Weight = Field(1.0, description="Weight relative to an ordinary retain prompt.")


class SolveAdjustments(Adjustment):
    """The adjustments of one solve. The default changes nothing."""

    removals: tuple[RemovalAdjustment, ...] = ()
    retain_names: tuple[RetainedName, ...] = Field((), description="Such as neighbours that were harmed.")
    retain_prompts: tuple[RetainedPrompt, ...] = ()
    preservation_scale: Weight = Field(
        1.0, description="Factor of the preservation weight that was found or requested."
    )
    layers: tuple[int, ...] | None = Field(None, description="Layers to edit instead of the method's, ascending.")

    def apply_to(self, removals: Iterable[ResolvedRemoval]) -> list[ResolvedRemoval]:
        """Return the removals with their weights and further prompts."""
        found = {(one.kind, Concept(one.concept, one.kind).subject): one for one in self.removals}
        return [
            self._adjust(removal, found.get((removal.concept.kind, removal.concept.subject))) for removal in removals
        ]

    def _adjust(self, removal: ResolvedRemoval, found: RemovalAdjustment | None) -> ResolvedRemoval:
        if found is None:
            return removal
        return replace(removal, weight=removal.weight * found.weight, phrases=(*removal.phrases, *found.phrases))


NO_ADJUSTMENTS = SolveAdjustments()


def merge_adjustments(parts: Sequence[SolveAdjustments]) -> SolveAdjustments:
    """Return the adjustments of several requests together; their order does not matter.

    A removal that several parts adjust keeps the largest weight and all phrases. The largest preservation scale counts, and the
    union of the layers.
    """
    layers = {layer for part in parts for layer in part.layers or ()}
    return SolveAdjustments(
        removals=tuple(_merge_removals(sorted((one for part in parts for one in part.removals), key=repr))),
        retain_names=tuple(sorted({one for part in parts for one in part.retain_names}, key=repr)),
        retain_prompts=tuple(sorted({one for part in parts for one in part.retain_prompts}, key=repr)),
        preservation_scale=max((part.preservation_scale for part in parts), default=1.0),
        layers=tuple(sorted(layers)) or None,
    )


def _merge_removals(ordered: Sequence[RemovalAdjustment]) -> Iterable[RemovalAdjustment]:
    """Merge the adjustments of each removal."""
    by_removal: dict[tuple[ConceptKind, str], list[RemovalAdjustment]] = {}
    for one in ordered:
        by_removal.setdefault((one.kind, one.concept), []).append(one)
    return (reduce(_merge_pair, own) for own in by_removal.values())


def _merge_pair(left: RemovalAdjustment, right: RemovalAdjustment) -> RemovalAdjustment:
    phrases = tuple(dict.fromkeys((*left.phrases, *right.phrases)))
    return left.model_copy(update={"weight": max(left.weight, right.weight), "phrases": phrases})
