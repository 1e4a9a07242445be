"""Prompt groups and checks; a planted judge reads the class of an image off its pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.edits import Thresholds, Validation
from editor.generation.config import ImageSpec
from editor.judging.evaluation import GroupEvaluation, gates_for
from editor.judging.gates import gates_from_thresholds, policy_from_request
from editor.judging.planned_images import image_specs
from editor.judging.prompt_groups import MAX_GROUP_PROMPTS, PromptGroup, edited_phrases, request_groups, retain_groups
from editor.judging.prompt_scores import GeneratedImages
from editor.judging.verdict import group_score, make_checks
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import Phrase

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"), aliases=("vixen",))
CLASS_NAMES = ["fox", "dog face", "pizza"]


@dataclass(frozen=True)
class PlantedJudge:
    """Recognises the name whose index is in the first pixel; names are similar if they share letters."""

    profile: Any
    short_id: str = "planted"

    def embed_class(self, kind: str, name: str) -> Tensor:
        return torch.tensor([[float(letter in name) for letter in "abcdefghijklmnopqrstuvwxyz"]])

    def embed_classes(self, kind: str, names: Sequence[str]) -> dict[str, Tensor]:
        return {name: self.embed_class(kind, name) for name in names}

    def class_names(self, kind: str, extra: Any = ()) -> list[str]:
        return list(dict.fromkeys([*CLASS_NAMES, *extra]))

    def embed_images(self, images: list[np.ndarray]) -> Tensor:
        return torch.tensor([int(image[0, 0, 0]) for image in images])

    def clip_scores(self, embedded: Tensor, prompts: list[str]) -> Tensor:
        return torch.zeros(len(embedded))

    def classify(self, kind: str, embedded: Tensor, names: list[str]) -> tuple[list[str], Tensor]:
        return [names[i] for i in embedded.tolist()], torch.nn.functional.one_hot(embedded, len(names)).float()


def picture(name: str) -> np.ndarray:
    return np.full((16, 16, 3), CLASS_NAMES.index(name), dtype=np.uint8)


def evaluation(before: list[str], after: list[str], group: str = "target") -> GroupEvaluation:
    """Return the evaluation of a group of fox prompts whose images show these names."""
    phrases = tuple(Phrase("{a}", "fox", "", f" {i}") for i in range(len(before)))
    made = PromptGroup(group, 0, "object", phrases, "fox")  # type: ignore[arg-type]
    specs = image_specs([made], [0])
    generated = GeneratedImages(
        dict(zip(specs, map(picture, before), strict=True)), dict(zip(specs, map(picture, after), strict=True))
    )
    done = GroupEvaluation(made, gates_for(made, gates_from_thresholds(Thresholds())))
    done.score_batch(PlantedJudge(None), made, generated, [0])  # type: ignore[arg-type]
    return done


def outcome(before: list[str], after: list[str], group: str = "target") -> str:
    (check,) = make_checks([evaluation(before, after, group)], policy_from_request(Validation()).confidence, seeds=1)
    return check.outcome


def test_an_absent_concept_passes() -> None:
    done = group_score(evaluation(["fox"] * 80, ["dog face"] * 80), PlantedJudge(None), 0.95)  # type: ignore[arg-type]
    assert (done.accuracy_before.value, done.accuracy_after.value, done.accuracy_drop.value) == (1, 0, 1)
    assert outcome(["fox"] * 80, ["dog face"] * 80) == "passed"


def test_no_hits_in_few_prompts_is_inconclusive() -> None:
    assert outcome(["fox"] * 40, ["dog face"] * 40) == "inconclusive"


def test_an_edit_without_effect_fails() -> None:
    assert outcome(["fox"] * 20, ["fox"] * 20) == "failed"
    assert outcome(["fox"] * 20, ["fox"] * 18 + ["pizza"] * 2) == "failed"


def test_a_concept_absent_from_the_base_model_is_inconclusive() -> None:
    assert outcome(["pizza"] * 80, ["pizza"] * 80) == "inconclusive"


def test_neighbours_are_judged_by_their_paired_drop() -> None:
    half = ["fox"] * 70 + ["pizza"] * 70
    assert outcome(half, half, "neighbours") == "passed"
    assert outcome(["fox"] * 20, ["pizza"] * 20, "neighbours") == "failed"
    assert outcome(["fox"] * 10, ["fox"] * 9 + ["pizza"], "neighbours") == "inconclusive"


@pytest.fixture
def groups(builder: PromptBuilder) -> list[PromptGroup]:
    return request_groups(builder, PlantedJudge(builder.profile), [FOX], 40)  # type: ignore[arg-type]


def test_prompts_with_an_alias_expect_the_concept(groups: list[PromptGroup]) -> None:
    target = groups[0]
    assert any("vixen" in prompt for prompt in target.prompts)
    assert set(target.expected_names) == {"fox"}


def test_groups_contain_the_right_prompts(groups: list[PromptGroup], builder: PromptBuilder) -> None:
    by_name = {(group.name, group.kind): group for group in groups}
    edited = {phrase.text() for phrase in edited_phrases(builder, FOX.concept.kind, "fox")} | {
        phrase.text() for phrase in edited_phrases(builder, FOX.concept.kind, "vixen")
    }
    target, general = by_name["target", "object"], by_name["generality", "object"]
    assert edited <= set(target.prompts)
    assert {phrase.wording for phrase in general.phrases} == set(builder.profile.held_out_wordings)
    assert edited.isdisjoint(general.prompts)
    assert len(target.prompts) == len(general.prompts) == MAX_GROUP_PROMPTS
    for name in ("neighbours", "retain"):
        assert not any("fox" in prompt or "vixen" in prompt for prompt in by_name[name, "object"].prompts)
    assert by_name["retain", "object"].prompts == by_name["retain", "style"].prompts
    assert len(by_name["retain", "style"].prompts) == 40


def test_without_retain_prompts_there_is_no_retain_group(builder: PromptBuilder) -> None:
    assert retain_groups(builder, PlantedJudge(builder.profile), [FOX], 0) == []


def test_prompts_of_several_groups_are_generated_once(groups: list[PromptGroup]) -> None:
    specs = image_specs(groups, [3, 4])
    assert len(specs) == len(set(specs))
    assert {spec.seed for spec in specs} == {3, 4}
    assert isinstance(specs[0], ImageSpec)
