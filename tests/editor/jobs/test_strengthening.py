"""What the closed loop changes after planted measurements."""

from collections.abc import Sequence

import pytest

from api_schemas.judging import GroupName
from api_schemas.refinement import MeasureRecord
from editor.jobs.strengthening import (
    Measured,
    describe_adjustments,
    excess,
    fallen_names,
    leaked_phrases,
    next_adjustments,
)
from editor.judging.evaluation import GroupEvaluation
from editor.judging.prompt_groups import PromptGroup
from editor.methods.adjustments import NO_ADJUSTMENTS
from editor.prompts import Concept, Destination, ResolvedRemoval
from editor.prompts.concepts import Phrase

PHRASES = tuple(Phrase("{a} in the style of {style}", "fox", style) for style in ("ink", "noto"))
OWL = ResolvedRemoval(Concept("owl"), Destination("bear", "auto"))
FOX = ResolvedRemoval(Concept("fox"), Destination("bear", "auto"))
PROMPT = Phrase("a picture of {a}", "fox")


def measure(name: str, value: float) -> MeasureRecord:
    return MeasureRecord(measure=name, removal=0, value=value, threshold=0.1, comparator="<=", prompts=48)


def measured(target: float, neighbours: float) -> Measured:
    return Measured(
        (measure("target_accuracy", target), measure("neighbour_drop", neighbours)),
        ((0, PROMPT),) if target > 0.05 else (),
        (("object", "bear"),) if neighbours > 0.05 else (),
    )


LAYERS = (0, 1, 2)


def layers_and_scales(found: Measured) -> list[tuple[tuple[int, ...] | None, float]]:
    """Return what rounds that are no better than the first candidate change of its layers and its preservation."""
    steps = [next_adjustments(NO_ADJUSTMENTS, found, [FOX], LAYERS, steps=steps) for steps in (1, 2, 3)]
    return [(one.layers, one.preservation_scale) for one in steps]


def test_steps_are_taken_in_the_stated_order() -> None:
    leaking = measured(0.3, 0.0)
    first = next_adjustments(NO_ADJUSTMENTS, leaking, [FOX], LAYERS)
    second = next_adjustments(first, leaking, [FOX])
    third = next_adjustments(second, leaking, [FOX])
    assert describe_adjustments(first) == ["1 prompts added", "layers 0, 1, 2"]
    assert (second.layers, second.preservation_scale) == (LAYERS, 0.5)
    assert (third.layers, third.preservation_scale) == (LAYERS, 0.25)
    assert [one.removals[0].phrases[0].weight for one in (first, second, third)] == [0.25, 0.5, 1.0]


def test_an_edit_that_leaks_and_spoils_is_not_preserved_less() -> None:
    both = measured(0.3, 0.3)
    assert next_adjustments(NO_ADJUSTMENTS, both, [FOX], LAYERS).layers == LAYERS
    assert next_adjustments(NO_ADJUSTMENTS, both, [FOX]).preservation_scale == 1.0


def test_more_layers_come_before_another_preservation() -> None:
    assert layers_and_scales(measured(0.0, 0.3)) == [(LAYERS, 1), (LAYERS, 2), (LAYERS, 0.5)]
    assert layers_and_scales(measured(0.3, 0.0)) == [(LAYERS, 1), (LAYERS, 0.5), (LAYERS, 2)]
    assert layers_and_scales(measured(0.3, 0.3)) == [(LAYERS, 1), (LAYERS, 2), (LAYERS, 0.5)]


def test_steps_alternate_and_grow_until_a_round_is_better() -> None:
    leaking, spoiling, both = measured(0.3, 0.0), measured(0.0, 0.3), measured(0.3, 0.3)
    scales = [
        [next_adjustments(NO_ADJUSTMENTS, one, [FOX], steps=steps).preservation_scale for steps in (1, 2, 3, 4)]
        for one in (spoiling, leaking, both)
    ]
    assert scales == [[2, 0.5, 4, 0.25], [0.5, 2, 0.25, 4], [1, 2, 0.5, 4]]


def test_added_prompts_do_not_outweigh_the_concepts_own() -> None:
    phrases = [Phrase("{a}, number {style}", "fox", str(number)) for number in range(40)]
    found = Measured((measure("target_accuracy", 0.3),), tuple((0, phrase) for phrase in phrases), ())
    (adjusted,) = next_adjustments(NO_ADJUSTMENTS, found, [FOX]).removals
    assert len(adjusted.phrases) == 40
    assert sum(one.weight for one in adjusted.phrases) == pytest.approx(1.0)


def test_a_style_whose_objects_fall_is_preserved() -> None:
    phrases = [Phrase("{a} in the style of {style}", name, style) for style in ("ink", "noto") for name in "abc"]
    evaluation = GroupEvaluation(PromptGroup("retain", None, "object", tuple(phrases)), [])
    evaluation.rounds[0].before.hits.extend([1.0] * 6)
    evaluation.rounds[0].after.hits.extend([1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    assert fallen_names(evaluation) == [("style", "ink"), ("object", "b")]


def test_only_the_incomplete_of_several_removals_counts_more() -> None:
    found = Measured((measure("destination_drop", 0.3),), (), ())
    adjusted = next_adjustments(NO_ADJUSTMENTS, found, [FOX, OWL], alone=False)
    assert {one.concept: one.weight for one in adjusted.removals} == {"fox": 2.0, "owl": 1.0}


@pytest.mark.parametrize(
    ("name", "added"),
    [("target", PHRASES[:1]), ("destination", PHRASES[1:]), ("other_removed", PHRASES[:1]), ("neighbours", ())],
)
def test_prompts_that_failed_are_edited(name: GroupName, added: Sequence[Phrase]) -> None:
    evaluation = GroupEvaluation(PromptGroup(name, 0, "object", PHRASES, "fox"), [])
    evaluation.rounds[0].after.hits.extend([1.0, 0.0])
    assert leaked_phrases(evaluation) == [(0, phrase) for phrase in added]


def test_collateral_weakens_the_edit_again() -> None:
    strong = next_adjustments(NO_ADJUSTMENTS, measured(0.3, 0.0), [FOX])
    weakened = next_adjustments(strong, measured(0.0, 0.3), [FOX])
    assert weakened.preservation_scale == 1.0
    assert [(one.name, one.weight) for one in weakened.retain_names] == [("bear", 4.0)]


def test_a_single_prompt_exceeds_no_margin() -> None:
    strict = measure("retain_object_drop", 0.0).model_copy(update={"threshold": 0.03})
    assert excess(strict.model_copy(update={"value": 1 / 48})) == 0
    assert excess(strict.model_copy(update={"value": 2 / 48})) == pytest.approx(1 / 48)
    similarity = strict.model_copy(update={"comparator": ">=", "threshold": 0.99, "value": 1 - 1 / 48})
    assert excess(similarity) == pytest.approx(0)


def test_excess_counts_from_the_margin() -> None:
    assert measured(0.025, 0.025).excess == 0
    assert measured(0.15, 0.0).excess == 0.15 - 0.025
