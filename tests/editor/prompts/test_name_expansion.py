"""The names that a removal covers: their sources, weights and prompts."""

from typing import Any

import pytest

from api_schemas.edits import EditRequest
from editor.errors import ConceptError
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.name_expansion import MAX_SPELLINGS, PLURAL_WEIGHT, SPELLING_WEIGHT
from editor.prompts.prompt_builder import SPELLING_CONTEXTS, name_spans
from editor.prompts.resolve_request import resolve_request

DOG = Destination("dog face", "replacement")


def resolve(builder: PromptBuilder, *removals: dict[str, Any], **options: Any) -> list[ResolvedRemoval]:
    return resolve_request(EditRequest.model_validate({"removals": list(removals), "options": options}), builder)


def test_names_are_ordered_and_have_sources(clip_builder: PromptBuilder) -> None:
    (removal,) = resolve(
        clip_builder,
        {
            "concept": "the fox",
            "aliases": ["vixen", "FOX", "a reynard"],
            "titles": ["The Tale of Reynard"],
            "translations": {"fr": ["renard"], "de": ["Fuchs"]},
            "exclude": ["Foxes", "fox"],
        },
    )
    expansion = clip_builder.expand(removal)
    assert expansion.names[0].text == "fox", "the concept itself cannot be excluded"
    assert expansion.from_sources("concept", "alias") == ("fox", "vixen", "reynard")
    assert expansion.from_sources("title", "translation") == ("Tale of Reynard", "renard", "Fuchs")
    assert "fox's" in expansion.from_sources("spelling")
    assert "foxes" not in expansion.from_sources("plural", "spelling")
    assert expansion == clip_builder.expand(removal)


def test_excluded_prompts_are_not_edited(clip_builder: PromptBuilder) -> None:
    (removal,) = resolve(clip_builder, {"concept": "fox"})
    texts = [pair.concept.text for pair in clip_builder.edit_pairs(removal)]
    (without,) = resolve(clip_builder, {"concept": "fox", "exclude_prompts": texts[:2]})
    assert [pair.concept.text for pair in clip_builder.edit_pairs(without)] == [
        one for one in texts if one not in texts[:2]
    ]
    (nothing,) = resolve(clip_builder, {"concept": "fox", "exclude_prompts": texts})
    with pytest.raises(ConceptError, match="is excluded") as raised:
        clip_builder.edit_pairs(nothing)
    assert raised.value.field == "exclude_prompts"


def test_spellings_are_generated_given_or_absent(clip_builder: PromptBuilder) -> None:
    def spellings_of(spellings: Any) -> tuple[str, ...]:
        (removal,) = resolve(clip_builder, {"concept": "hot dog", "spellings": spellings})
        return clip_builder.expand(removal).from_sources("spelling")

    assert 0 < len(spellings_of("auto")) <= MAX_SPELLINGS
    assert spellings_of(["hodog", "hot dog"]) == ("hodog",)
    assert spellings_of([]) == ()


def test_generated_spelling_is_not_another_name_in_the_request(clip_builder: PromptBuilder) -> None:
    others: list[dict[str, Any]] = [
        {"concept": "wolf", "replacement": "fox's"},
        {"concept": "bear", "preserve": ["foxes"]},
    ]
    removals = resolve(clip_builder, {"concept": "fox"}, *others)
    assert clip_builder.expand(removals[0]).from_sources("spelling") == ()
    alone = resolve(clip_builder, {"concept": "fox"})
    assert set(clip_builder.expand(alone[0]).from_sources("plural", "spelling")) == {"foxes", "fox's"}


def test_spelling_has_less_weight_and_fewer_prompts(clip_builder: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("fox"), DOG, aliases=("vixen",), spellings=("foxx",))
    pairs = clip_builder.edit_pairs(removal)
    spelling_pairs = [pair for pair in pairs if "foxx" in pair.concept.text]
    assert len(spelling_pairs) == SPELLING_CONTEXTS
    assert sum(pair.weight for pair in spelling_pairs) == pytest.approx(SPELLING_WEIGHT)
    assert sum(pair.weight for pair in pairs if pair not in spelling_pairs) == pytest.approx(2.0), (
        "the concept and its alias"
    )
    assert len(pairs) > 2 * len(spelling_pairs) + 40
    assert len({pair.last_subject for pair in spelling_pairs}) > 1, "at several positions"


@pytest.mark.parametrize(
    ("name", "plural"),
    [("fox", "foxes"), ("Fox", "Foxes"), ("OWL", "OWLS"), ("red Fox", "red Foxes")],
)
def test_plural_has_its_own_source_and_weight(clip_builder: PromptBuilder, name: str, plural: str) -> None:
    removal = ResolvedRemoval(Concept(name), DOG, spellings="auto")
    (found,) = (name for name in clip_builder.expand(removal).names if name.source == "plural")
    assert found.text == plural
    assert sum(pair.weight for pair in clip_builder.name_pairs(removal, found)) == pytest.approx(PLURAL_WEIGHT)


@pytest.mark.parametrize("name", ["fox-", "fox_", "C-3PO", "fox 2", "été"])
def test_name_that_does_not_end_in_a_word_has_no_plural(clip_builder: PromptBuilder, name: str) -> None:
    removal = ResolvedRemoval(Concept(name), DOG, spellings="auto")
    expansion = clip_builder.expand(removal)
    assert expansion.from_sources("plural") == ()
    assert not any(text.startswith("ff") for text in expansion.from_sources("spelling"))


def test_name_with_an_article_occurs_in_its_prompts(clip_builder: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("a fox"), DOG, aliases=("the red one",))
    assert all("red one" in p.concept.text or "fox" in p.concept.text for p in clip_builder.edit_pairs(removal))


def test_titles_of_a_style_are_used_as_objects(clip_builder: PromptBuilder) -> None:
    style = Concept("Vincent van Gogh", "style")
    titled = ResolvedRemoval(style, Destination("Claude Monet", "replacement"), titles=("starry night",))
    meant = {p.concept.text: p.destination.text for p in clip_builder.edit_pairs(titled) if "starry" in p.concept.text}
    assert meant["a photo of a starry night"] == "a photo of a picture in the style of Claude Monet"
    null = ResolvedRemoval(style, Destination("", "null"), titles=("starry night",))
    left = {p.destination.text for p in clip_builder.edit_pairs(null) if "starry" in p.concept.text}
    assert "" in left
    assert not any("starry" in text or "Gogh" in text for text in left)


def test_prompt_contains_the_concept_exactly_once(clip_builder: PromptBuilder) -> None:
    for name in ("table", "night", "photo", "forest"):
        pairs = clip_builder.edit_pairs(ResolvedRemoval(Concept(name), DOG))
        assert len(pairs) > 10
        assert all(len(name_spans(name, pair.concept.text)) == 1 for pair in pairs)


def test_retain_prompts_do_not_name_removed_concepts(clip_builder: PromptBuilder) -> None:
    removals = [ResolvedRemoval(Concept("table"), DOG), ResolvedRemoval(Concept("night"), DOG, preserve=("night owl",))]
    phrases = clip_builder.retain_phrases(removals)
    assert not any(name_spans("table", phrase.surroundings) or " at night" in phrase.text() for phrase in phrases)
    assert not any(phrase.object.endswith("table") for phrase in phrases), "a coffee table is a table"
    assert any("night owl" in phrase.text() for phrase in phrases), "preserved names stay"


def test_spelling_that_does_not_fit_is_left_out(builder: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("fox"), DOG, spellings=("qxzqxzqxzqxzqxzqxzqxzqxzqxz",))
    assert not any("qxz" in pair.concept.text for pair in builder.edit_pairs(removal))
    with pytest.raises(ConceptError, match="qxz"):
        builder.edit_pairs(ResolvedRemoval(Concept("fox"), DOG, aliases=removal.spellings))


@pytest.mark.parametrize(
    ("removal", "options", "field"),
    [
        ({"titles": ["a", "qxz" * 12]}, {}, "removals[0].titles[1]"),
        ({"translations": {"fr": ["qxz" * 12]}}, {}, "removals[0].translations.fr[0]"),
        ({"spellings": ["qxz" * 12]}, {}, "removals[0].spellings[0]"),
        ({}, {"pins": ["an owl", "qxz " * 30]}, "options.pins[1]"),
    ],
)
def test_error_locates_the_phrase_that_is_too_long(
    builder: PromptBuilder, removal: dict[str, Any], options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConceptError) as caught:
        resolve(builder, {"concept": "fox"} | removal, **options)
    assert caught.value.field == field


@pytest.mark.parametrize(("name", "kind"), [("of", "object"), ("The", "object"), ("in", "style")])
def test_word_of_most_prompts_is_refused(clip_builder: PromptBuilder, name: str, kind: str) -> None:
    with pytest.raises(ConceptError, match="prompts about anything") as caught:
        resolve(clip_builder, {"concept": "fox"}, {"concept": name, "kind": kind})
    assert caught.value.field == "removals[1].concept"
