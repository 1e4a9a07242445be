"""What the closed loop changes after planted measurements."""

from api_schemas.refinement import MeasureRecord
from editor.jobs.strengthening import Measured, describe_adjustments, next_adjustments
from editor.methods.adjustments import NO_ADJUSTMENTS
from editor.prompts import Concept, Destination, ResolvedRemoval
from editor.prompts.concepts import Phrase

FOX = ResolvedRemoval(Concept("fox"), Destination("bear", "auto"))
PROMPT = Phrase("a picture of {a}", "fox")


def measure(name: str, value: float) -> MeasureRecord:
    return MeasureRecord(measure=name, removal=0, value=value, threshold=0.1, comparator="<=", prompts=48)  # type: ignore[arg-type]


def measured(target: float, neighbours: float) -> Measured:
    return Measured(
        (measure("target_accuracy", target), measure("neighbour_drop", neighbours)),
        ((0, PROMPT),) if target > 0.05 else (),
        (("object", "bear"),) if neighbours > 0.05 else (),
    )


def test_steps_are_taken_in_the_stated_order() -> None:
    leaking = measured(0.3, 0.0)
    first = next_adjustments(NO_ADJUSTMENTS, leaking, [FOX], 1, (0, 1))
    second = next_adjustments(first, leaking, [FOX], 2, (0, 1))
    third = next_adjustments(second, leaking, [FOX], 3, (0, 1))
    assert describe_adjustments(first) == ["1 leaked prompts added", "removal weight 2"]
    assert second.preservation_scale == 0.5
    assert third.layers == (0, 1)
    assert [one.removals[0].phrases[0].weight for one in (first, second, third)] == [0.25, 0.5, 1.0]
    assert next_adjustments(second, leaking, [FOX], 3, None).preservation_scale == 0.25


def test_collateral_weakens_the_edit_again() -> None:
    strong = next_adjustments(NO_ADJUSTMENTS, measured(0.3, 0.0), [FOX], 2, None)
    weakened = next_adjustments(strong, measured(0.0, 0.3), [FOX], 3, None)
    assert weakened.preservation_scale == 1.0
    assert [(one.name, one.weight) for one in weakened.retain_names] == [("bear", 4.0)]


def test_excess_counts_from_the_margin() -> None:
    assert measured(0.05, 0.05).excess == 0
    assert measured(0.15, 0.0).excess == 0.15 - 0.05
