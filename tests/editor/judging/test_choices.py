"""What a judge chooses from, and how it describes a class."""

from pathlib import Path
from typing import Any

import pytest
import torch

from editor.errors import JudgeError
from editor.judging.choices import removal_choices, retain_choices
from editor.judging.judge import Judge, open_judge
from editor.judging.neighbours import MAX_NEIGHBOURS, find_neighbours
from editor.judging.prompt_groups import request_groups, retain_groups
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.profile import Judging, Profile, general_profile
from editor.prompts.templates import class_prompts
from tests.editor.judging.judge_folders import clip_folder

FOX = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"), aliases=("vixen",))
ADA = ResolvedRemoval(Concept("Ada Okafor", "person"), Destination("woman", "generic"))
AVERAGE = Judging(descriptions="average", templates={"object": ("a photo of {a}", "a drawing of {a}")})


@pytest.fixture(scope="module")
def folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("judge"), tokenizer)


@pytest.fixture
def open_with(folder: Path, builder: PromptBuilder, model_dir: Path) -> Any:
    def make(judging: Judging, **changes: Any) -> Judge:
        changed: Profile = builder.profile.model_copy(update={"judging": judging, **changes})
        return open_judge(folder, model_dir, changed)

    return make


def test_descriptions_are_averaged_if_the_profile_says_so(open_with: Any) -> None:
    judge, best = open_with(AVERAGE), open_with(AVERAGE.model_copy(update={"descriptions": "best_context"}))
    described = best.embed_texts(class_prompts(judge.profile, "object", "fox"))
    average = torch.nn.functional.normalize(described.mean(0), dim=0)
    assert torch.allclose(judge.embed_class("object", "fox"), average[None])
    image = torch.nn.functional.normalize(torch.randn(3, described.shape[1]))
    assert torch.allclose(judge.class_similarity("object", image, "fox"), image @ average)
    assert torch.allclose(best.class_similarity("object", image, "fox"), (image @ described.T).amax(1))


def test_all_names_are_the_choices_of_the_embedded_model(open_with: Any) -> None:
    judge = open_with(Judging())
    choices = removal_choices(judge, "object", FOX, ["rabbit"], ["fox"])
    assert (choices.rule, choices.names) == ("all", judge.profile.object_names)
    assert choices.record().names == []
    assert choices.record().count == len(judge.profile.object_names)


def test_the_concept_is_among_its_neighbours_its_replacement_and_other_groups(
    open_with: Any, builder: PromptBuilder
) -> None:
    judge = open_with(Judging(choices="neighbours"))
    groups = {(group.name, group.kind): group for group in request_groups(builder, judge, [FOX], 20)}
    choices = groups["target", "object"].choices
    neighbours = find_neighbours(judge, builder, FOX, [FOX]).names
    first_of_groups = [names[0] for names in judge.profile.objects.values()]
    assert choices is not None
    assert choices.names[0] == "fox"
    assert {"dog face", *neighbours} <= set(choices.names) <= {"fox", "dog face", *neighbours, *first_of_groups}
    assert choices.record().names == list(choices.names)
    retain = groups["retain", "object"]
    assert retain.choices is not None
    assert set(retain.choices.names) == {*retain.expected_names, "fox", "dog face"}
    style = groups["retain", "style"]
    assert style.choices is not None
    assert set(style.choices.names) == set(style.expected_names)


@pytest.mark.parametrize("rule", ["all", "neighbours"])
def test_another_name_of_the_concept_is_no_choice(rule: Any, open_with: Any) -> None:
    """An image that looks like a vixen must count as a fox."""
    judge = open_with(Judging(choices=rule), objects={"animals": ("Vixen", "rabbit", "fox")})
    assert "Vixen" not in removal_choices(judge, "object", FOX, ["rabbit"], ["fox"]).names
    assert "Vixen" in retain_choices(judge, "object", ["Vixen"], []).names


def test_a_person_is_told_from_other_people_even_if_the_profile_lists_none(
    open_with: Any, builder: PromptBuilder
) -> None:
    judge = open_with(Judging())
    choices = removal_choices(judge, "person", ADA, [], ["Ada Okafor"])
    assert choices.rule == "neighbours"
    assert {"Ada Okafor", "man", "woman"} <= set(choices.names)
    neighbours = find_neighbours(judge, builder, ADA, [ADA])
    assert neighbours.kind == "object"
    assert len(neighbours.names) == 8


def test_a_person_is_no_choice_among_objects(open_with: Any, builder: PromptBuilder) -> None:
    judge = open_with(Judging(choices="neighbours"))
    groups = {(group.name, group.kind): group for group in request_groups(builder, judge, [ADA], 20)}
    for name in ("neighbours", "retain"):
        choices = groups[name, "object"].choices
        assert choices is not None
        assert "Ada Okafor" not in choices.names
        assert "woman" in choices.names


def test_people_of_the_profile_are_the_neighbours_of_a_person(open_with: Any, tokenizer: Any) -> None:
    judge = open_with(Judging(), names={"person": {"singers": ("Ada Okafor", "Bea Lindqvist")}})
    people = PromptBuilder(tokenizer, judge.profile)
    groups = {group.name: group for group in request_groups(people, judge, [ADA], 0)}
    assert (groups["neighbours"].kind, set(groups["neighbours"].expected_names)) == ("person", {"Bea Lindqvist"})
    assert set(groups["target"].expected_names) == {"Ada Okafor"}
    assert all("Ada Okafor" in prompt for prompt in groups["generality"].prompts)


def test_a_tokenizer_with_more_tokens_than_the_judge_is_refused(
    folder: Path, builder: PromptBuilder, model_dir: Path, tmp_path: Path
) -> None:
    small = clip_folder(tmp_path, builder.tokenizer)
    larger = builder.tokenizer.__class__.from_pretrained(small)
    larger.add_tokens(["<one more>"])
    larger.save_pretrained(small)
    with pytest.raises(JudgeError, match="text encoder has"):
        open_judge(small, model_dir, builder.profile)


def test_classes_embedded_together_are_those_embedded_alone(open_with: Any) -> None:
    names = ["fox", "rabbit", "dog face"]
    together = open_with(AVERAGE).embed_classes("object", names)
    assert list(together) == names
    for name in names:
        assert torch.allclose(together[name], open_with(AVERAGE).embed_class("object", name), atol=1e-6)


def test_a_long_list_is_compared_group_by_group(open_with: Any, builder: PromptBuilder) -> None:
    """A judge that embeds every name of the general profile would take longer than the edit."""
    general, clip = general_profile(), builder.tokenizer
    judge, own = open_with(**dict(general)), PromptBuilder(clip, general)
    neighbours = find_neighbours(judge, own, FOX, [FOX]).names
    assert len(neighbours) == MAX_NEIGHBOURS
    assert {"wolf", "coyote", "jackal"} <= {*neighbours}, "its group comes before others"
    unknown = ResolvedRemoval(Concept("flux capacitor"), Destination("", "null"))
    assert len(find_neighbours(judge, own, unknown, [unknown]).names) == MAX_NEIGHBOURS
    assert len(judge._class_embeddings) < 300


def test_retained_prompts_name_as_many_concepts_as_can_be_measured(open_with: Any, builder: PromptBuilder) -> None:
    own = PromptBuilder(builder.tokenizer, general_profile())
    fox = ResolvedRemoval(Concept("fox"), Destination("", "null"), preserve=("maned wolf",))
    groups = retain_groups(own, open_with(general_profile().judging), [fox], 200)
    names = {group.kind: {*group.expected_names} for group in groups}
    assert 48 < len(names["object"]) <= 96
    assert len(names["style"]) == 16
    assert "maned wolf" in names["object"]
