"""Which prompts decide a verdict, and which steer the closed loop: no prompt does both.

The first validation uses all prompts. If it does not pass, a third of the prompts in wordings that edits use steer the rounds,
and the others, with all prompts in held-out wordings, decide the final validation, at seeds that were not used before. The two
validations share the permitted error, so that the chance of a wrong `passed` is that of a single validation, however many
rounds there are.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from api_schemas.judging import GroupName
from editor.judging.evaluation import GroupEvaluation
from editor.prompts.concepts import Phrase

MAX_STEERING_PROMPTS = 64
"""Prompts of a group that steer."""
LEARNING_INTERVAL = 3
"""One of so many steering prompts may be added to the edit. The others measure it: a prompt that was added shows less of the
concept than those that were not."""
STEERING_SHARE = 3
"""One of so many prompts steers."""
FIRST_ERROR_SHARE = 0.6
"""Share of the permitted error that the first validation uses, if a second one may follow. With 0.2 left, the final
one could not decide a rate of 0.05 on 120 prompts, the held-out prompts of an object of the embedded model."""
STEERING_GROUPS: tuple[GroupName, ...] = ("target", "neighbours", "retain")
"""Groups with prompts that steer. The prompts of all others are among those of `target`, or in held-out wordings."""
FINAL_SEED_OFFSET = 3_000_000
"""Added to the seeds of the final validation."""


@dataclass(frozen=True)
class Deciding:
    """How a validation decides."""

    left_out: frozenset[str] = frozenset()
    """Prompts that steered."""
    seed_offset: int = 0
    error_share: float = 1.0
    """Share of the permitted error that it uses."""
    gates_only: bool = False
    """Whether to leave out attacks, detectors and feature scores unless the verdict is `passed`."""


ALL_PROMPTS = Deciding()
FIRST_OF_TWO = Deciding(error_share=FIRST_ERROR_SHARE, gates_only=True)
FIRST_KEPT = replace(FIRST_OF_TWO, gates_only=False)


def final_validation(steering: frozenset[str]) -> Deciding:
    """Return how the final validation decides, after rounds that were steered by some prompts."""
    return Deciding(steering, FINAL_SEED_OFFSET, 1 - FIRST_ERROR_SHARE)


def steering_prompts(evaluations: Sequence[GroupEvaluation]) -> frozenset[str]:
    """Return the prompts that steer: the first of each group, whose order is random but fixed by the request's seed."""
    return frozenset(
        prompt
        for one in evaluations
        if one.group.name in STEERING_GROUPS
        for prompt in one.group.prompts[: steering_count(one)]
    )


def steering_count(evaluation: GroupEvaluation) -> int:
    """Return how many prompts of a group steer."""
    return min(MAX_STEERING_PROMPTS, len(evaluation.group.phrases) // STEERING_SHARE)


def learning_prompts(evaluations: Sequence[GroupEvaluation]) -> frozenset[str]:
    """Return the steering prompts that a next round may be changed by; the other ones measure the rounds."""
    return frozenset(
        prompt
        for one in evaluations
        if one.group.name in STEERING_GROUPS
        for prompt in one.group.prompts[: steering_count(one) : LEARNING_INTERVAL]
    )


def without_prompts(evaluations: Sequence[GroupEvaluation], prompts: Collection[str]) -> list[GroupEvaluation]:
    """Return unscored groups without some prompts."""
    return [select(one, [text not in prompts for text in one.group.prompts]) for one in evaluations]


def steering_evaluations(evaluations: Sequence[GroupEvaluation], prompts: Collection[str]) -> list[GroupEvaluation]:
    """Return the unscored groups that steer, with their steering prompts, each used once.

    What a removal's prompts should show instead is asked of its steering target prompts.
    """
    targets = {
        one.group.removal: [phrase for phrase in one.group.phrases if phrase.text() in prompts]
        for one in evaluations
        if one.group.name == "target"
    }
    found = [
        with_references(one, targets.get(one.group.removal, ()))
        if one.group.needs_references
        else select(one, [text in prompts for text in one.group.prompts])
        for one in evaluations
    ]
    return [replace_group(one, rounds=1) for one in found if one.group.phrases]


def with_references(evaluation: GroupEvaluation, phrases: Sequence[Phrase]) -> GroupEvaluation:
    """Return a group that is compared with references, on other phrases: those with a reference, about the group's objects."""
    group = evaluation.group
    objects = {phrase.object for phrase in group.phrases}
    shown = tuple(one for one in phrases if one in group.references and one.object in objects)
    return replace_group(evaluation, phrases=shown)


def select(evaluation: GroupEvaluation, chosen: Sequence[bool]) -> GroupEvaluation:
    """Return a group with some of its prompts, unscored."""
    phrases = zip(evaluation.group.phrases, chosen, strict=True)
    return replace_group(evaluation, phrases=tuple(phrase for phrase, is_chosen in phrases if is_chosen))


def replace_group(evaluation: GroupEvaluation, **changes: object) -> GroupEvaluation:
    """Return an unscored evaluation of a changed group."""
    group = replace(evaluation.group, **changes)  # type: ignore[arg-type]
    return GroupEvaluation(group, evaluation.gates, evaluation.recogniser, evaluation.minimum_recognition)


def can_pass(evaluations: Sequence[GroupEvaluation], confidence: float) -> bool:
    """Return whether a flawless edit would pass the final validation: whether enough prompts are left for it."""
    level = (1 - FIRST_ERROR_SHARE) * (1 - confidence)
    left = without_prompts(evaluations, steering_prompts(evaluations))
    return all(flawless_passes(one, level) for one in left if one.gates)


def flawless_passes(evaluation: GroupEvaluation, level: float) -> bool:
    """Return whether ideal observations of all prompts pass a group's gates."""
    count = len(evaluation.group.phrases)
    ideal = (
        replace(
            evidence,
            values=[0.0 if evidence.gate.comparator == "<=" else 1.0] * count,
            control=[1.0] * count,
            complete=True,
            rounds=evaluation.group.rounds,
        )
        for evidence in evaluation.evidence
    )
    return all(one.passes(level) for one in ideal)
