"""People, characters, brands and unsafe content: prompts use their names as they are, in wordings of their own."""

from typing import Any

import pytest
from pydantic import ValidationError

from api_schemas.kinds import ConceptKind, NamedKind
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.kind_wordings import DEFAULT_WORDINGS, KindWordings
from editor.prompts.profile import Judging, Profile, general_profile
from editor.prompts.templates import MAX_OBJECT_CONTEXTS, class_prompts, concept_contexts

NAMED: tuple[NamedKind, ...] = ("person", "character", "brand", "unsafe")
PEOPLE = {"person": {"singers": ("Ada Okafor", "Bea Lindqvist")}}


def removal(name: str, kind: ConceptKind, words: str = "") -> ResolvedRemoval:
    return ResolvedRemoval(Concept(name, kind), Destination(words, "replacement" if words else "null"))


@pytest.mark.parametrize("kind", NAMED)
def test_contexts_use_the_name_without_article_in_wordings_of_the_kind(kind: NamedKind) -> None:
    phrases = concept_contexts(general_profile(), kind, "The Example")
    texts = [phrase.text() for phrase in phrases]
    assert len(set(texts)) == len(texts) == MAX_OBJECT_CONTEXTS
    assert all("The Example" in text for text in texts)
    assert not any("a The Example" in text for text in texts)
    assert set(DEFAULT_WORDINGS[kind].plain) <= {phrase.wording for phrase in phrases}


@pytest.mark.parametrize("kind", NAMED)
def test_held_out_wordings_of_a_kind_are_used_by_no_edit(kind: NamedKind, clip_builder: PromptBuilder) -> None:
    one = removal("Ada Okafor", kind)
    edited = {pair.concept.text for pair in clip_builder.edit_pairs(one)}
    held_out = {pair.concept.text for pair in clip_builder.held_out_pairs(one)}
    assert held_out
    assert edited.isdisjoint(held_out)
    wordings = {wording.format(a="Ada Okafor", bare="Ada Okafor") for wording in DEFAULT_WORDINGS[kind].held_out}
    assert wordings <= held_out


@pytest.mark.parametrize(
    ("words", "expected"),
    [("woman", "a photo of a woman"), ("Bea Lindqvist", "a photo of Bea Lindqvist"), ("", "")],
)
def test_a_replacement_gets_an_article_unless_it_is_a_name(
    words: str, expected: str, clip_builder: PromptBuilder
) -> None:
    pairs = clip_builder.edit_pairs(removal("Ada Okafor", "person", words))
    assert {pair.destination.text for pair in pairs if pair.concept.text == "a photo of Ada Okafor"} == {expected}


def test_other_people_are_retained_but_other_unsafe_content_is_not(clip: Any) -> None:
    builder = PromptBuilder(clip, general_profile().model_copy(update={"names": PEOPLE}))
    removed = [removal("Ada Okafor", "person")]
    assert builder.retained_names("person", removed) == ["Bea Lindqvist"]
    texts = [phrase.text() for phrase in builder.retain_phrases(removed)]
    assert any("a portrait of Bea Lindqvist" in text for text in texts)
    assert not any("Ada Okafor" in text for text in texts)
    assert builder.retained_names("unsafe", removed) == []


def test_a_profile_may_bring_its_own_wordings() -> None:
    own = KindWordings(plain=("{a} on stage",), held_out=("{a} backstage",))
    profile = general_profile().model_copy(update={"wordings": {"person": own}})
    assert concept_contexts(profile, "person", "Ada Okafor")[0].text() == "Ada Okafor on stage"
    assert class_prompts(profile, "person", "Ada Okafor") == ["Ada Okafor on stage"]


def test_classes_are_described_by_the_templates_of_the_profile() -> None:
    assert class_prompts(general_profile(), "object", "owl")[:3] == [
        "itap of an owl.",
        "a bad photo of an owl.",
        "an origami owl.",
    ]
    assert "a painting by Claude Monet" in class_prompts(general_profile(), "style", "Claude Monet")
    assert "a portrait of a woman" in class_prompts(general_profile(), "person", "woman")


@pytest.mark.parametrize(
    "templates",
    [{"object": ("a photo",)}, {"style": ("{a} in a style",)}, {"person": ("{name}",)}, {"thing": ("{a}",)}],
)
def test_templates_without_their_placeholder_are_refused(templates: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Judging(templates=templates)  # type: ignore[arg-type]


def test_a_profile_with_names_and_templates_survives_json() -> None:
    profile = general_profile().model_copy(update={"names": PEOPLE, "wordings": dict(DEFAULT_WORDINGS)})
    assert Profile.model_validate_json(profile.model_dump_json()) == profile
