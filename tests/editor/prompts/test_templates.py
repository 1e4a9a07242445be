"""Prompts of an edit: few, unlike one another, and tokenised as the pipeline does."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from editor.emoji.profile import PROFILE
from editor.errors import ConceptError
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.concepts import Phrase
from editor.prompts.profile import GENERAL_PROFILE, Profile
from editor.prompts.templates import MAX_OBJECT_CONTEXTS, concept_contexts, diagonal_pairs, object_style_phrases
from editor.prompts.tokenizer_cache import TokenizerCache


@pytest.mark.parametrize("profile", [PROFILE, GENERAL_PROFILE])
def test_an_object_is_edited_in_few_contexts_of_every_sort(profile: Profile) -> None:
    phrases = concept_contexts(profile, "object", "fox")
    assert len(set(phrases)) == len(phrases) == MAX_OBJECT_CONTEXTS
    assert {p.wording for p in phrases} == {*profile.plain_wordings, *profile.styled_wordings}
    assert {p.style for p in phrases} == {"", *profile.styles}
    assert {p.prefix for p in phrases} == set(profile.prefixes)
    assert {p.suffix for p in phrases} == set(profile.suffixes)


@pytest.mark.parametrize("profile", [PROFILE, GENERAL_PROFILE])
def test_a_style_is_edited_around_as_many_objects_as_there_may_be(profile: Profile) -> None:
    phrases = concept_contexts(profile, "style", "ink")
    assert len(set(phrases)) == len(phrases) == profile.style_contexts
    assert {p.object for p in phrases} == set(profile.object_names)
    assert len({(p.object, p.wording) for p in phrases}) == len(phrases)
    dressed = Counter((p.wording, bool(p.prefix), bool(p.suffix)) for p in phrases)
    assert len(dressed) == 4 * len(profile.styled_wordings), "no wording always brings the same surroundings"


def test_late_positions_are_among_them() -> None:
    starts = [len(p.text().partition("fox")[0].split()) for p in concept_contexts(GENERAL_PROFILE, "object", "fox")]
    assert min(starts) == 0
    assert any(6 <= start < 12 for start in starts)
    assert any(12 <= start < 20 for start in starts)
    assert max(starts) >= 24


def test_what_is_kept_is_as_varied(book: PromptBuilder) -> None:
    phrases = list(object_style_phrases(GENERAL_PROFILE, ["cat", "dog"], GENERAL_PROFILE.styles))
    assert {(p.object, p.style) for p in phrases} == {
        (o, s) for o in ("cat", "dog") for s in ("", *GENERAL_PROFILE.styles)
    }
    assert {p.prefix for p in phrases} == set(GENERAL_PROFILE.prefixes)
    assert {p.suffix for p in phrases} == set(GENERAL_PROFILE.suffixes)


@pytest.mark.parametrize(("left", "right"), [("abcd", "wxyz"), ("abcdef", "vwxyz"), ("abc", "uvwxyz"), ("ab", "")])
def test_diagonals_reach_every_combination_once(left: str, right: str) -> None:
    pairs = list(diagonal_pairs(left, right))
    assert sorted(pairs) == sorted((a, b) for a in left for b in right)
    assert all(a != c and b != d for (a, b), (c, d) in pairwise(pairs))


def test_many_prompts_tokenise_as_one_does(book: PromptBuilder) -> None:
    texts = [
        *book.select_fitting([p.text() for p in concept_contexts(PROFILE, "style", "ink")]),
        "",
        "A  caf\u00e9",
        "a fox",
    ]
    expected = torch.tensor([book.tokenizer(text, padding="max_length")["input_ids"] for text in texts])
    assert torch.equal(book.token_ids(texts), expected)
    for text, row, tokenised in zip(texts, expected, book.tokenize_all(texts), strict=True):
        assert tokenised.text == text
        assert torch.equal(tokenised.ids, row)
        assert tokenised.eos == row.tolist().index(book.tokenizer.eos_token_id)


def test_a_prompt_is_tokenised_once(book: PromptBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    removal = ResolvedRemoval(Concept("violin"), Destination("drum", "replacement"))
    first = book.edit_pairs(removal)
    monkeypatch.setattr(
        "editor.prompts.tokenizer_cache.TokenizerCache._tokenize_words",
        lambda self, texts: pytest.fail(f"again: {texts}"),
    )
    second = book.edit_pairs(removal)
    assert [pair.concept.text for pair in first] == [pair.concept.text for pair in second]


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from("aeftx \t.,'’!-_@7é\u0301ßΣς狐 "), max_size=30) | st.text(max_size=12))
@example(text="  a   fox ")
@example(text="it's 3,000 Σς's don't")
@example(text="a <|endoftext|> fox")
@example(text="a<|endoftext|>fox")
def test_words_put_together_are_the_text(clip: Any, text: str) -> None:
    (encoded,) = TokenizerCache(clip).encode([text])
    expected = clip(text, return_offsets_mapping=True)
    assert encoded.ids == expected["input_ids"]
    for i, (start, stop) in list(enumerate(expected["offset_mapping"]))[1:-1]:
        first, last = encoded.tokens_covering(start, stop) if start < stop else (i, i)
        assert first <= i <= last


def test_the_memory_starts_over_when_it_is_full(book: PromptBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editor.prompts.tokenizer_cache.MAX_CACHED_WORDS", 3)
    fresh = PromptBuilder(book.tokenizer, book.profile)
    texts = ["a fox", "an owl", "a bear", "a fox", "a drum"]
    for batch in (texts[:2], texts[1:], texts):
        assert torch.equal(fresh.token_ids(batch), book.token_ids(batch))
    assert set(fresh.tokenizer_cache.words) == {"a", "an", "fox", "owl", "bear", "drum"}
    fresh.token_ids(["a key"])
    assert set(fresh.tokenizer_cache.words) == {"a", "key"}


def test_a_prompt_that_does_not_fit_is_named(book: PromptBuilder) -> None:
    with pytest.raises(ConceptError, match="a fox a fox"):
        book.token_ids(["a fox", "a fox " * 20])


def test_no_edit_sees_a_held_out_wording(book: PromptBuilder) -> None:
    phrases = book.in_held_out_wordings(concept_contexts(PROFILE, "object", "fox"))
    assert not any(p.prefix or p.suffix for p in phrases)
    assert {p.wording for p in phrases} == set(PROFILE.held_out_wordings)
    assert Phrase(PROFILE.held_out_wordings[0], "fox", "ink") in phrases
