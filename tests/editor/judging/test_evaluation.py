"""Sequential evaluation with planted models: a function says what each image shows, and the judge reads it off its pixels."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from api_schemas.edits import Thresholds, Validation
from api_schemas.judging import Check, Verdict
from editor.generation.config import ImageSpec
from editor.judging.evaluation import INTERIM_BATCH, GroupEvaluation, plan_evaluations, run_evaluations
from editor.judging.gates import combine_verdicts, policy_from_request, recompute_outcomes
from editor.judging.planned_images import image_specs
from editor.judging.prompt_groups import PromptGroup
from editor.judging.prompt_scores import GeneratedImages
from editor.judging.summary_score import harmonic_mean, harmonic_scores
from editor.judging.verdict import make_checks
from editor.prompts.concepts import Phrase

CLASS_NAMES = ["fox", "dog face", "pizza", "owl", "noise"]
Shows = Callable[[str], str]
"""Maps the subject of a prompt to what its image shows."""


class PlantedJudge:
    """Recognises the name whose index is in the first pixel."""

    name, digest, short_id = "planted", "0" * 64, "planted"

    def class_names(self, kind: str, extra: Any = ()) -> list[str]:
        return CLASS_NAMES

    def embed_images(self, images: list[np.ndarray]) -> Tensor:
        return torch.tensor([int(image[0, 0, 0]) for image in images])

    def classify(self, kind: str, embedded: Tensor, names: list[str]) -> tuple[list[str], Tensor]:
        return [names[i] for i in embedded.tolist()], torch.nn.functional.one_hot(embedded, len(names)).float()

    def clip_scores(self, embedded: Tensor, prompts: list[str]) -> Tensor:
        return torch.zeros(len(embedded))


class PlantedGenerator:
    """Generates what two functions say, and records the batches."""

    def __init__(self, after: Shows, before: Shows = lambda subject: subject) -> None:
        self.before, self.after, self.rounds = before, after, list[list[ImageSpec]]()

    def generate(self, specs: Sequence[ImageSpec], generated: GeneratedImages, progress: Any) -> None:
        self.rounds.append(list(specs))
        for shows, images in ((self.before, generated.before), (self.after, generated.after)):
            images |= {spec: picture(shows(spec.prompt.split(",")[0])) for spec in specs}
        progress(1.0)

    def generate_base(self, specs: Sequence[ImageSpec], generated: GeneratedImages, progress: Any) -> None:
        self.references = getattr(self, "references", 0) + len(specs)
        generated.before.update({spec: picture(self.before(spec.prompt.split(",")[0])) for spec in specs})


def picture(name: str) -> np.ndarray:
    return np.full((16, 16, 3), CLASS_NAMES.index(name), dtype=np.uint8)


def group(name: Any, subjects: Sequence[str], count: int) -> PromptGroup:
    phrases = [Phrase("{bare}", subjects[i % len(subjects)], "", f", {name} {i}") for i in range(count)]
    return PromptGroup(name, None if name == "retain" else 0, "object", tuple(phrases))


def planted_groups() -> list[PromptGroup]:
    return [
        group("target", ["fox"], 192),
        group("generality", ["fox"], 192),
        group("neighbours", ["dog face"], 192),
        group("retain", ["pizza", "owl"], 400),
    ]


def validate(after: Shows, sequential: bool = True, **asked: Any) -> tuple[list[Check], Verdict, int]:
    """Return the checks, the verdict, and the number of images of the edited model."""
    policy = policy_from_request(Validation(**asked))
    evaluations, generator = plan_evaluations(planted_groups(), policy.gates, seed=1), PlantedGenerator(after)
    generated = run_evaluations(evaluations, PlantedJudge(), generator, [0], 0.05, sequential, lambda done: None)  # type: ignore[arg-type]
    checks = make_checks(evaluations, policy.confidence, seeds=1)
    assert [check.outcome for check in checks] == recompute_outcomes(checks, policy.confidence)
    return checks, combine_verdicts([check.outcome for check in checks]), len(generated.after)


def outcomes_by_measure(checks: Sequence[Check]) -> dict[str, Verdict]:
    return {check.measure: check.outcome for check in checks}


def test_a_clean_removal_passes_with_less_than_half_of_the_planned_images() -> None:
    checks, verdict, images = validate(lambda subject: "dog face" if subject == "fox" else subject)
    assert verdict == "passed"
    assert {check.settled for check in checks} == {"early"}
    assert images == sum(check.images for check in checks)
    assert images < sum(check.planned for check in checks) / 2


def test_an_edit_without_effect_fails() -> None:
    checks, verdict, _ = validate(lambda subject: subject)
    assert verdict == "failed"
    assert outcomes_by_measure(checks) == {
        "target_accuracy": "failed",
        "generality_accuracy": "failed",
        "neighbour_drop": "passed",
        "retain_object_drop": "passed",
    }


def test_a_broken_model_fails_although_the_target_is_absent() -> None:
    checks, verdict, images = validate(lambda subject: "noise")
    assert verdict == "failed"
    assert outcomes_by_measure(checks) == {
        "target_accuracy": "passed",
        "generality_accuracy": "passed",
        "neighbour_drop": "failed",
        "retain_object_drop": "failed",
    }
    assert [check.images for check in checks][2:] == [INTERIM_BATCH, INTERIM_BATCH]
    assert images < 300


def test_without_early_stopping_every_prompt_is_generated_once() -> None:
    checks, _, images = validate(lambda subject: subject, sequential=False)
    assert images == 192 * 3 + 400 == len(image_specs(planted_groups(), [0]))
    assert {check.settled for check in checks} == {"at the end"}


def test_only_undecided_groups_get_more_images() -> None:
    evaluations = plan_evaluations(planted_groups(), policy_from_request(Validation()).gates, seed=1)
    generator = PlantedGenerator(lambda subject: "noise")
    run_evaluations(evaluations, PlantedJudge(), generator, [0, 1], 0.05, True, lambda done: None)  # type: ignore[arg-type]
    assert len(generator.rounds[0]) == 4 * INTERIM_BATCH * 2
    assert {spec.prompt.split(",")[1].split()[0] for spec in generator.rounds[1]} == {"target", "generality"}
    assert all(spec.seed in (0, 1) for specs in generator.rounds for spec in specs)


def test_groups_that_share_their_prompts_share_their_images() -> None:
    pair = [group("retain", ["pizza"], 64)] * 2
    generator = PlantedGenerator(lambda subject: subject)
    evaluations = plan_evaluations(
        pair, policy_from_request(Validation(thresholds=Thresholds(retain_drop=0))).gates, seed=1
    )
    run_evaluations(evaluations, PlantedJudge(), generator, [0], 0.05, True, lambda done: None)  # type: ignore[arg-type]
    assert sum(map(len, generator.rounds)) == 64


def test_the_prompt_order_is_random_and_reproducible() -> None:
    (first,), (again,), (other,) = (plan_evaluations([group("target", ["fox"], 50)], [], seed) for seed in (1, 1, 2))
    listed = group("target", ["fox"], 50).prompts
    assert first.group.prompts == again.group.prompts != other.group.prompts
    assert sorted(first.group.prompts) == sorted(listed)
    assert first.group.prompts != listed


def test_the_harmonic_mean_is_zero_if_any_part_is() -> None:
    assert harmonic_mean(1, 1, 1) == 1
    assert harmonic_mean(1, 0, 1) == 0
    assert harmonic_mean(0.9, 0.8, 0.5) == 3 / (1 / 0.9 + 1 / 0.8 + 1 / 0.5)

    def score(after: Shows) -> float:
        evaluations: list[GroupEvaluation] = plan_evaluations(
            planted_groups(), policy_from_request(Validation()).gates, seed=1
        )
        run_evaluations(evaluations, PlantedJudge(), PlantedGenerator(after), [0], 0.05, True, lambda done: None)  # type: ignore[arg-type]
        (found,) = harmonic_scores(evaluations, 0.95)
        assert found.harmonic.low <= found.harmonic.value <= found.harmonic.high
        return found.harmonic.value

    assert score(lambda subject: "dog face" if subject == "fox" else subject) == 1
    assert score(lambda subject: subject) == score(lambda subject: "noise") == 0
