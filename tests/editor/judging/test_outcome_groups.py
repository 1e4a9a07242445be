"""What a concept's prompts show after the edit: the replacement, the object under a removed style, no other removed concept."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.edits import Validation
from api_schemas.judging import Check
from editor.generation.config import ImageSpec
from editor.judging.evaluation import plan_evaluations, run_evaluations
from editor.judging.gates import policy_from_request, recompute_outcomes
from editor.judging.planned_images import count_planned_images
from editor.judging.prompt_groups import PromptGroup, request_groups
from editor.judging.prompt_scores import GeneratedImages
from editor.judging.verdict import make_checks
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import ConceptKind

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
OWL = ResolvedRemoval(Concept("owl"), Destination("penguin", "replacement"))
GONE = ResolvedRemoval(Concept("snail"), Destination("", "null"))
INK = ResolvedRemoval(Concept("ink", "style"), Destination("twemoji", "generic"))
Shows = Callable[[str], str]
"""Maps a prompt to the prompt whose objects and style its image shows."""


class PromptJudge:
    """Recognises the object and the style that the prompt names which an image was made of: images are numbers of prompts."""

    short_id = "planted"

    def __init__(self, builder: PromptBuilder) -> None:
        self.profile, self.texts = builder.profile, list[str]()

    def picture(self, text: str) -> np.ndarray:
        self.texts.append(text)
        return np.full((16, 16, 3), len(self.texts) - 1, dtype=np.int64)

    def embed_class(self, kind: str, name: str) -> Tensor:
        return torch.tensor([[float(letter in name) for letter in "abcdefghijklmnopqrstuvwxyz"]])

    def embed_classes(self, kind: str, names: Sequence[str]) -> dict[str, Tensor]:
        return {name: self.embed_class(kind, name) for name in names}

    def class_names(self, kind: ConceptKind, extra: Sequence[str] = ()) -> list[str]:
        return list(dict.fromkeys([*self.profile.names_of(kind), *extra]))

    def embed_images(self, images: list[np.ndarray]) -> Tensor:
        return torch.tensor([int(image[0, 0, 0]) for image in images])

    def classify(self, kind: str, embedded: Tensor, names: Sequence[str]) -> tuple[list[str], Tensor]:
        words = {name: re.compile(rf"\b{name}\b") for name in names}
        shown = [[bool(words[name].search(self.texts[i])) * len(name) for name in names] for i in embedded.tolist()]
        scores = torch.tensor(shown, dtype=torch.float32)
        return [names[i] for i in scores.argmax(1).tolist()], scores

    def clip_scores(self, embedded: Tensor, prompts: Sequence[str]) -> Tensor:
        return torch.zeros(len(embedded))


class PromptGenerator:
    """Generates images that show another prompt than the one that is asked for."""

    def __init__(self, judge: PromptJudge, after: Shows, before: Shows) -> None:
        self.judge, self.after, self.before, self.references = judge, after, before, list[str]()

    def generate(self, specs: Sequence[ImageSpec], generated: GeneratedImages, progress: Any) -> None:
        generated.before.update({spec: self.judge.picture(self.before(spec.prompt)) for spec in specs})
        generated.after.update({spec: self.judge.picture(self.after(spec.prompt)) for spec in specs})

    def generate_base(self, specs: Sequence[ImageSpec], generated: GeneratedImages, progress: Any) -> None:
        self.references += [spec.prompt for spec in specs]
        generated.before.update({spec: self.judge.picture(self.before(spec.prompt)) for spec in specs})


def faithful(prompt: str) -> str:
    return prompt


def edited(prompt: str) -> str:
    """A perfect edit of all four removals."""
    for old, new in {"fox": "dog face", "an owl": "a penguin", "owl": "penguin", "ink": "twemoji"}.items():
        prompt = re.sub(rf"\b{old}\b", new, prompt)
    return "nothing" if "snail" in prompt else prompt


def groups_of(
    builder: PromptBuilder, *removals: ResolvedRemoval, **limits: int
) -> dict[tuple[str, int | None], PromptGroup]:
    groups = request_groups(builder, PromptJudge(builder), removals, 0, **limits)  # type: ignore[arg-type]
    return {(group.name, group.removal): group for group in groups}


def check_edit(
    builder: PromptBuilder, removals: Sequence[ResolvedRemoval], after: Shows, before: Shows = faithful
) -> tuple[dict[tuple[str, int | None], Check], PromptGenerator]:
    """Return the checks by measure and removal, and the generator."""
    judge = PromptJudge(builder)
    generator = PromptGenerator(judge, after, before)
    policy = policy_from_request(Validation())
    groups = request_groups(builder, judge, removals, 0)  # type: ignore[arg-type]
    evaluations = plan_evaluations(groups, policy.gates, seed=1)
    run_evaluations(evaluations, judge, generator, [0], 0.05, True, lambda done: None)  # type: ignore[arg-type]
    checks = make_checks(evaluations, policy.confidence, seeds=1)
    assert [check.outcome for check in checks] == recompute_outcomes(checks, policy.confidence)
    return {(check.measure, check.removal): check for check in checks}, generator


def outcomes(
    builder: PromptBuilder, removals: Sequence[ResolvedRemoval], after: Shows, *before: Shows
) -> dict[Any, str]:
    checks, _ = check_edit(builder, removals, after, *before)
    return {key: check.outcome for key, check in checks.items()}


def test_a_perfect_edit_passes_every_gate(builder: PromptBuilder) -> None:
    found = outcomes(builder, [FOX, OWL, INK], edited)
    assert {key: one for key, one in found.items() if one != "passed"} == {}
    measures = {measure for measure, _ in found}
    assert {"destination_drop", "styled_object_drop", "other_removed_accuracy"} <= measures


def test_one_removal_has_no_gate_on_others_and_the_null_concept_none_on_its_replacement(builder: PromptBuilder) -> None:
    assert {name for name, _ in groups_of(builder, GONE)} == {"target", "generality", "neighbours"}
    assert {name for name, _ in groups_of(builder, FOX)} == {"target", "generality", "neighbours", "destination"}
    assert "styled_objects" in {name for name, _ in groups_of(builder, INK)}


def test_an_object_that_becomes_something_else_than_its_replacement_fails(builder: PromptBuilder) -> None:
    found = outcomes(builder, [FOX], lambda prompt: prompt.replace("fox", "pizza"))
    assert (found["target_accuracy", 0], found["destination_drop", 0]) == ("passed", "failed")


def test_a_style_whose_removal_destroys_objects_fails(builder: PromptBuilder) -> None:
    """A style is gone and its replacement is there, but in a third of the images the object is another one."""

    def damaged(prompt: str) -> str:
        return "a horse, twemoji" if sum(map(ord, prompt)) % 3 == 0 else edited(prompt)

    found = outcomes(builder, [INK], damaged)
    assert (found["target_accuracy", 0], found["destination_drop", 0]) == ("passed", "passed")
    assert found["styled_object_drop", 0] == "failed"


def test_another_removed_concept_that_appears_fails(builder: PromptBuilder) -> None:
    """Prompts for owls draw foxes in a tenth of the images, although both are removed."""

    def mixed(prompt: str) -> str:
        return "a fox, noto" if "owl" in prompt and sum(map(ord, prompt)) % 10 == 0 else edited(prompt)

    found = outcomes(builder, [FOX, OWL], mixed)
    assert (found["other_removed_accuracy", 0], found["other_removed_accuracy", 1]) == ("passed", "failed")


def test_what_the_judge_mistakes_in_the_replacements_own_images_does_not_count(builder: PromptBuilder) -> None:
    """The judge takes penguins in one style for foxes: in the base model's images of penguins too."""

    def drawn(prompt: str) -> str:
        return "a fox, noto" if "penguin" in prompt and "noto" in prompt else prompt

    found, generator = check_edit(builder, [FOX, OWL], lambda prompt: drawn(edited(prompt)), drawn)
    assert found["other_removed_accuracy", 1].outcome == "passed"
    assert any("penguin" in prompt for prompt in generator.references)


@pytest.mark.parametrize(("share", "outcome"), [(20, "passed"), (4, "failed")])
def test_prompts_whose_reference_shows_the_concept_are_left_out_if_they_are_few(
    builder: PromptBuilder, share: int, outcome: str
) -> None:
    """The judge takes one in ``share`` of the base model's own images in the replacement style for the removed style."""

    def drawn(prompt: str) -> str:
        return prompt.replace("twemoji", "ink") if sum(map(ord, prompt)) % share == 0 else prompt

    found, _ = check_edit(builder, [INK], lambda prompt: drawn(edited(prompt)), drawn)
    target = found["target_accuracy", 0]
    assert (target.outcome, target.left_out > 0) == (outcome, outcome == "passed")
    assert target.images == len(target.observations) + target.left_out


def test_concepts_that_remain_count_although_some_references_show_them(builder: PromptBuilder) -> None:
    """The edit does nothing to a seventh of the prompts, whose references do not show the concept."""

    def incomplete(prompt: str) -> str:
        return prompt if sum(map(ord, prompt)) % 7 == 0 else edited(prompt)

    found, _ = check_edit(builder, [INK], incomplete)
    assert (found["target_accuracy", 0].outcome, found["target_accuracy", 0].left_out) == ("failed", 0)


def test_a_replacement_that_the_base_model_does_not_draw_is_inconclusive_with_a_reason(builder: PromptBuilder) -> None:
    checks, _ = check_edit(builder, [FOX], edited, lambda prompt: prompt.replace("dog face", "horse"))
    check = checks["destination_drop", 0]
    assert check.outcome == "inconclusive"
    assert "base model itself" in check.reason
    assert check.images < check.planned


def test_references_are_what_all_removals_together_make_of_a_prompt(builder: PromptBuilder) -> None:
    groups = groups_of(builder, FOX, INK, GONE)
    ink = {phrase.text(): text for phrase, text in groups["destination", 0].references.items() if phrase.style == "ink"}
    assert ink
    assert all("dog face" in text and "twemoji" in text and " ink" not in text for text in ink.values())
    in_style = groups["destination", 1]
    assert all(re.search(r"\b(ink|fox|snail)\b", text) is None for text in in_style.references.values())
    assert not {"fox", "snail"} & {phrase.object for phrase in groups["styled_objects", 1].phrases}


def test_a_parent_class_is_shown_by_any_of_its_members(builder: PromptBuilder) -> None:
    profile = builder.profile.model_copy(update={"parents": {"animals": "animal"}})
    members = profile.objects["animals"]
    animal = ResolvedRemoval(Concept("fox"), Destination("animal", "generic"))
    group = groups_of(PromptBuilder(builder.tokenizer, profile), animal)["destination", 0]
    assert {"animal", *members} - {"fox"} == {*group.accepts}


def test_half_of_a_styles_target_prompts_were_not_seen_by_the_edit(builder: PromptBuilder) -> None:
    target = groups_of(builder, INK)["target", 0]
    seen = sum(phrase in target.seen for phrase in target.phrases)
    assert 0 < seen <= len(target.phrases) / 2
    held_out = {*builder.profile.held_out_wordings}
    assert held_out.isdisjoint(phrase.wording for phrase in target.phrases)


@pytest.mark.parametrize("top_up", [1, 2, 4])
def test_top_up_adds_prompts_first_and_rounds_where_the_wordings_run_out(builder: PromptBuilder, top_up: int) -> None:
    fox, ink = (groups_of(builder, one, max_removal_prompts=96, top_up=top_up) for one in (FOX, INK))
    general, styled = fox["generality", 0], ink["generality", 0]
    assert len(styled.phrases) == 96 * top_up
    assert styled.rounds == 1
    assert len(general.phrases) == min(96 * top_up, 120)
    assert general.rounds == max(1, 96 * top_up // 120)


def test_the_planned_images_count_references_and_rounds(builder: PromptBuilder) -> None:
    phrases = groups_of(builder, FOX)["destination", 0].phrases[:10]
    plain = PromptGroup("target", 0, "object", phrases)
    assert count_planned_images([plain], range(2)) == 2 * 2 * 10
    compared = PromptGroup(
        "destination", 0, "object", phrases, references={one: f"{one.text()}!" for one in phrases}, rounds=3
    )
    assert count_planned_images([compared], range(2)) == 3 * (2 + 1) * 2 * 10
