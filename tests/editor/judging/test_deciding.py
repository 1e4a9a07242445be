"""Prompts that steer decide nothing, and two validations share the error of one."""

import random
from dataclasses import replace

import pytest

from api_schemas.gates import Gate
from editor.judging.deciding import (
    FIRST_ERROR_SHARE,
    can_pass,
    final_validation,
    learning_prompts,
    steering_evaluations,
    steering_prompts,
    without_prompts,
)
from editor.judging.evaluation import GroupEvaluation
from editor.judging.gates import GateEvidence
from editor.judging.prompt_groups import PromptGroup
from editor.prompts.concepts import Phrase

GATE = Gate(measure="target_accuracy", threshold=0.05)
LEVEL = 0.05


def evaluation(count: int, name: str = "target", wording: str = "picture {}") -> GroupEvaluation:
    phrases = tuple(Phrase(f"{wording.format(number)} of {{a}}", "fox") for number in range(count))
    return GroupEvaluation(PromptGroup(name, 0, "object", phrases, "fox"), [GATE])  # type: ignore[arg-type]


def test_no_prompt_both_steers_and_decides() -> None:
    groups = [evaluation(192), evaluation(60, "neighbours"), evaluation(120, "generality", "held out {}")]
    steering = steering_prompts(groups)
    deciding = without_prompts(groups, steering)
    assert {text for one in deciding for text in one.group.prompts}.isdisjoint(steering)
    assert {text for one in steering_evaluations(groups, steering) for text in one.group.prompts} == steering
    assert len(steering) == 64
    assert [len(one.group.phrases) for one in deciding] == [128, 0, 120]
    assert final_validation(steering).left_out == steering
    assert final_validation(steering).seed_offset > 0


def test_the_destination_is_steered_by_target_prompts_and_decided_by_held_out_ones() -> None:
    target, held_out = evaluation(192), evaluation(120, "destination", "held out {}")
    references = dict.fromkeys((*target.group.phrases[:30], *held_out.group.phrases), "a dog")
    destination = replace(held_out, group=replace(held_out.group, references=references))
    groups = [target, destination]
    steering = steering_prompts(groups)
    _, steered = steering_evaluations(groups, steering)
    assert steered.group.phrases == target.group.phrases[:30]
    assert without_prompts(groups, steering)[1].group.phrases == held_out.group.phrases


def test_prompts_that_a_round_learns_from_do_not_measure_it() -> None:
    held_out = evaluation(120, "generality", "held out {}")
    groups = [evaluation(192), evaluation(60, "neighbours", "picture {} beside it"), held_out]
    steering, learned = steering_prompts(groups), learning_prompts(groups)
    measuring = [text for one in steering_evaluations(groups, steering - learned) for text in one.group.prompts]
    assert learned < steering
    assert learned.isdisjoint(measuring)
    assert (len(learned), len(measuring)) == (29, 55)


def test_loop_is_not_started_if_a_flawless_edit_could_not_pass_afterwards() -> None:
    assert can_pass([evaluation(192)], 1 - LEVEL)
    assert not can_pass([evaluation(73)], 1 - LEVEL)


def passes(rate: float, count: int, level: float, generator: random.Random) -> bool:
    values = [float(generator.random() < rate) for _ in range(count)]
    return GateEvidence(GATE, values, complete=True, control=[1.0] * count).passes(level)


@pytest.mark.parametrize("rate", [0.051, 0.06])
def test_loop_does_not_raise_false_passes(rate: float) -> None:
    """Every candidate of the loop misses the threshold by the least, and the loop always runs."""
    generator, trials = random.Random(0), 1500
    alone = sum(passes(rate, 192, LEVEL, generator) for _ in range(trials)) / trials
    looped = (
        sum(
            passes(rate, 192, FIRST_ERROR_SHARE * LEVEL, generator)
            or passes(rate, 144, (1 - FIRST_ERROR_SHARE) * LEVEL, generator)
            for _ in range(trials)
        )
        / trials
    )
    assert looped <= LEVEL
    assert looped <= alone + 0.01
