"""Removals as they are solved together."""

from collections.abc import Iterable

from editor.methods.adjustments import SolveAdjustments
from editor.methods.layer_edit import canonical_order
from editor.prompts import PromptBuilder, ResolvedRemoval
from editor.prompts.composition import compose_removals


def prepare_removals(
    removals: Iterable[ResolvedRemoval],
    report_on: Iterable[ResolvedRemoval],
    builder: PromptBuilder,
    adjustments: SolveAdjustments,
) -> tuple[tuple[ResolvedRemoval, ...], tuple[ResolvedRemoval, ...]]:
    """Return removals as they are solved, adjusted, in canonical order and composed, and those of them that are reported."""
    ordered, wanted = canonical_order(adjustments.apply_to(removals)), {*adjustments.apply_to(report_on)}
    composed = tuple(compose_removals(ordered, builder))
    return composed, tuple(after for before, after in zip(ordered, composed, strict=True) if before in wanted)
