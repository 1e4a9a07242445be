"""The profile that ships for models without their own."""

from typing import Any

import pytest

from editor.emoji.profile import PROFILE
from editor.prompts.concepts import Concept, Destination, ResolvedRemoval, choose_destination
from editor.prompts.profile import Profile, general_profile
from editor.prompts.profile_checks import MAX_NAME_TOKENS, find_profile_problems
from editor.prompts.prompt_builder import PromptBuilder
from editor.prompts.tokenizer_cache import TokenizerCache


def removal_of(name: str) -> ResolvedRemoval:
    return ResolvedRemoval(Concept(name), Destination("", "null"))


def test_general_profile_covers_the_world() -> None:
    profile = general_profile()
    assert len({*profile.object_names}) >= 1000
    assert len({*profile.styles}) >= 200
    assert len(profile.objects) >= 60
    assert profile.parents.keys() == profile.objects.keys()
    assert min(map(len, profile.objects.values())) >= 4, "each group has neighbours"
    assert all(name == name.lower() for name in profile.object_names)


@pytest.mark.parametrize("profile", [PROFILE, general_profile()], ids=["emoji", "general"])
def test_shipped_profiles_have_no_problems(profile: Profile, clip: Any) -> None:
    assert find_profile_problems(profile, TokenizerCache(clip)) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"styles": ("ink", "Ink")}, "listed twice"),
        ({"objects": {"animals": ("fox", "foxes")}}, "singular or plural"),
        ({"objects": {"animals": ("fox", "ink")}, "styles": ("ink",)}, "also an object"),
        ({"objects": {"animals": ("animal",)}, "parents": {"animals": "animal"}}, "also a parent class"),
        ({"objects": {"animals": ("a fox",)}}, "article"),
        ({"objects": {"animals": ("fox ",)}}, "spaces"),
        ({"objects": {"animals": ()}}, "empty"),
        ({"objects": {"long": ("one two three four five six seven",)}}, f"at most {MAX_NAME_TOKENS}"),
        ({"default_style": "etchings"}, "not among styles"),
        ({"suffixes": ("", " under a willow tree")}, "names 'willow tree'"),
        ({"held_out_wordings": ("{bare}, {style}",)}, "only by its article"),
        ({"prefixes": ("", "very " * 60)}, "prefixes"),
        ({"negative_prompts": ("bad " * 90,)}, "negative_prompts"),
    ],
)
def test_problems_are_found(change: dict[str, Any], says: str, clip: Any) -> None:
    problems = find_profile_problems(general_profile().model_copy(update=change), TokenizerCache(clip))
    assert any(says in problem for problem in problems), problems


def test_retained_prompts_include_all_negative_prompts(clip_builder: PromptBuilder) -> None:
    texts = clip_builder.retain_texts(clip_builder.retain_phrases([removal_of("fox")]), 100)
    assert len(texts) == 100
    assert {*general_profile().negative_prompts} < {*texts}


def test_what_a_removed_class_contains_is_not_retained(clip_builder: PromptBuilder) -> None:
    retained = {*clip_builder.retained_names("object", [removal_of("bear"), removal_of("bird")])}
    assert retained.isdisjoint({"polar bear", "teddy bear", "giant panda", "sparrow", "penguin"})
    assert {"wolf", "giraffe", "bird nest"} < retained


def test_what_a_removed_class_contains_is_retained_on_request(clip_builder: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("bear"), Destination("", "null"), preserve=("teddy bear",))
    assert clip_builder.retained_names("object", [removal])[0] == "teddy bear"


def test_generic_class_comes_from_the_profile_on_request() -> None:
    profile = general_profile()
    assert choose_destination(Concept("an Owl"), None, "auto", profile) == Destination("bird", "generic")
    assert choose_destination(Concept("owl"), "fox", "auto", profile) == Destination("fox", "replacement")
    assert choose_destination(Concept("owl"), None, None, profile) == Destination("", "null")
    assert choose_destination(Concept("flux capacitor"), None, "auto", profile) == Destination("", "null")
    assert choose_destination(Concept("ink", "style"), None, "auto", PROFILE) == Destination("openmoji", "generic")


def test_preserved_names_are_among_the_sampled_prompts(clip_builder: PromptBuilder) -> None:
    fox = ResolvedRemoval(Concept("fox"), Destination("", "null"), preserve=("maned wolf",))
    monet = ResolvedRemoval(Concept("Claude Monet", "style"), Destination("", "null"), preserve=("Joan Nobody",))
    texts = clip_builder.retain_texts(clip_builder.retain_phrases([fox, monet]), 600)
    assert 8 < sum("maned wolf" in text for text in texts) < 100
    assert 8 < sum("Joan Nobody" in text for text in texts) < 100
