"""Every name that a removal covers: where it comes from, what it weighs, what prompts it gets."""

from typing import Any

import pytest

from api_schemas.edits import EditRequest
from editor.errors import ConceptError
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.name_expansion import MAX_SPELLINGS, SPELLING_WEIGHT
from editor.prompts.prompt_builder import SPELLING_CONTEXTS, name_spans
from editor.prompts.resolve_request import resolve_request

DOG = Destination("dog face", "replacement")


def resolved(book: PromptBuilder, *removals: dict[str, Any], **options: Any) -> list[ResolvedRemoval]:
    return resolve_request(EditRequest.model_validate({"removals": list(removals), "options": options}), book)


def test_names_come_in_order_each_with_its_source(clip_book: PromptBuilder) -> None:
    (removal,) = resolved(
        clip_book,
        {
            "concept": "the fox",
            "aliases": ["vixen", "FOX", "a reynard"],
            "titles": ["The Tale of Reynard"],
            "translations": {"fr": ["renard"], "de": ["Fuchs"]},
            "exclude": ["Foxes", "fox"],
        },
    )
    found = clip_book.expand(removal)
    assert found.names[0].text == "fox", "whatever is excluded"
    assert found.from_sources("concept", "alias") == ("fox", "vixen", "reynard")
    assert found.from_sources("title", "translation") == ("Tale of Reynard", "renard", "Fuchs")
    assert "fox's" in found.from_sources("spelling")
    assert "foxes" not in found.from_sources("spelling")
    assert found == clip_book.expand(removal)


def test_spellings_are_made_given_or_none(clip_book: PromptBuilder) -> None:
    def spelt(spellings: Any) -> tuple[str, ...]:
        (removal,) = resolved(clip_book, {"concept": "hot dog", "spellings": spellings})
        return clip_book.expand(removal).from_sources("spelling")

    assert 0 < len(spelt("auto")) <= MAX_SPELLINGS
    assert spelt(["hodog", "hot dog"]) == ("hodog",)
    assert spelt([]) == ()


def test_no_spelling_is_the_name_of_something_else(clip_book: PromptBuilder) -> None:
    beside: list[dict[str, Any]] = [
        {"concept": "wolf", "replacement": "fox's"},
        {"concept": "bear", "preserve": ["foxes"]},
    ]
    removals = resolved(clip_book, {"concept": "fox"}, *beside)
    assert clip_book.expand(removals[0]).from_sources("spelling") == ()
    alone = resolved(clip_book, {"concept": "fox"})
    assert set(clip_book.expand(alone[0]).from_sources("spelling")) == {"foxes", "fox's"}


def test_a_spelling_counts_less_and_has_fewer_prompts(clip_book: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("fox"), DOG, aliases=("vixen",), spellings=("foxx",))
    pairs = clip_book.edit_pairs(removal)
    spelt = [pair for pair in pairs if "foxx" in pair.concept.text]
    assert len(spelt) == SPELLING_CONTEXTS
    assert sum(pair.weight for pair in spelt) == pytest.approx(SPELLING_WEIGHT)
    assert sum(pair.weight for pair in pairs if pair not in spelt) == pytest.approx(2.0), "the concept and its alias"
    assert len(pairs) > 2 * len(spelt) + 40
    assert len({pair.last_subject for pair in spelt}) > 1, "at several positions"


def test_a_name_with_an_article_is_found_in_its_prompts(clip_book: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("a fox"), DOG, aliases=("the red one",))
    assert all("red one" in p.concept.text or "fox" in p.concept.text for p in clip_book.edit_pairs(removal))


def test_the_works_of_a_style_are_things(clip_book: PromptBuilder) -> None:
    style = Concept("Vincent van Gogh", "style")
    titled = ResolvedRemoval(style, Destination("Claude Monet", "replacement"), titles=("starry night",))
    meant = {p.concept.text: p.destination.text for p in clip_book.edit_pairs(titled) if "starry" in p.concept.text}
    assert meant["a photo of a starry night"] == "a photo of a picture in the style of Claude Monet"
    null = ResolvedRemoval(style, Destination("", "null"), titles=("starry night",))
    assert {p.destination.text for p in clip_book.edit_pairs(null) if "starry" in p.concept.text} == {""}


def test_a_prompt_names_the_concept_once(clip_book: PromptBuilder) -> None:
    for name in ("table", "night", "photo", "forest"):
        pairs = clip_book.edit_pairs(ResolvedRemoval(Concept(name), DOG))
        assert len(pairs) > 10
        assert all(len(name_spans(name, pair.concept.text)) == 1 for pair in pairs)


def test_nothing_that_is_kept_names_what_is_removed(clip_book: PromptBuilder) -> None:
    removals = [ResolvedRemoval(Concept("table"), DOG), ResolvedRemoval(Concept("night"), DOG, preserve=("night owl",))]
    kept = clip_book.retain_texts(clip_book.retain_phrases(removals), 10_000)
    assert not any(name_spans("table", text) or " at night" in text for text in kept)
    assert any("night owl" in text for text in kept), "what was asked for stays"


def test_a_spelling_that_does_not_fit_is_left_out(book: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("fox"), DOG, spellings=("qxzqxzqxzqxzqxzqxzqxzqxzqxz",))
    assert not any("qxz" in pair.concept.text for pair in book.edit_pairs(removal))
    with pytest.raises(ConceptError, match="qxz"):
        book.edit_pairs(ResolvedRemoval(Concept("fox"), DOG, aliases=removal.spellings))


@pytest.mark.parametrize(
    ("removal", "options", "field"),
    [
        ({"titles": ["a", "qxz" * 12]}, {}, "removals[0].titles[1]"),
        ({"translations": {"fr": ["qxz" * 12]}}, {}, "removals[0].translations.fr[0]"),
        ({"spellings": ["qxz" * 12]}, {}, "removals[0].spellings[0]"),
        ({}, {"pins": ["an owl", "qxz " * 30]}, "options.pins[1]"),
    ],
)
def test_what_is_too_long_is_located(
    book: PromptBuilder, removal: dict[str, Any], options: dict[str, Any], field: str
) -> None:
    with pytest.raises(ConceptError) as caught:
        resolved(book, {"concept": "fox"} | removal, **options)
    assert caught.value.field == field
