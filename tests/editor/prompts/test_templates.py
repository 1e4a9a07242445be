"""Edit prompts are few and varied, and are tokenized as the pipeline does."""

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
from editor.prompts.profile import Profile, general_profile
from editor.prompts.templates import (
    MAX_OBJECT_CONTEXTS,
    MAX_OBJECT_STYLE_PAIRS,
    concept_contexts,
    diagonal_pairs,
    evenly_spaced,
    object_style_pairs,
    object_style_phrases,
)
from editor.prompts.tokenizer_cache import TokenizerCache


@pytest.mark.parametrize("profile", [PROFILE, general_profile()])
def test_object_contexts_cover_the_profile(profile: Profile) -> None:
    phrases = concept_contexts(profile, "object", "fox")
    assert len(set(phrases)) == len(phrases) == MAX_OBJECT_CONTEXTS
    assert {p.wording for p in phrases} == {*profile.plain_wordings, *profile.styled_wordings}
    assert {p.style for p in phrases} == {"", *profile.styles[: len({p.style for p in phrases}) - 1]}
    assert len({p.style for p in phrases}) > min(len(profile.styles), 15)
    assert {p.prefix for p in phrases} == set(profile.prefixes)
    assert {p.suffix for p in phrases} == set(profile.suffixes)


@pytest.mark.parametrize("profile", [PROFILE, general_profile()])
def test_style_contexts_cover_all_objects(profile: Profile) -> None:
    phrases = concept_contexts(profile, "style", "ink")
    assert len(set(phrases)) == len(phrases) == profile.style_contexts
    assert {p.object for p in phrases} == {*evenly_spaced(profile.object_names, profile.style_contexts)}
    groups = {profile.group_of("object", p.object) for p in phrases}
    assert len(groups) > 0.8 * len(profile.objects)
    assert len({(p.object, p.wording) for p in phrases}) == len(phrases)
    surroundings = Counter((p.wording, bool(p.prefix), bool(p.suffix)) for p in phrases)
    assert len(surroundings) == 4 * len(profile.styled_wordings), "no wording always brings the same surroundings"


def test_contexts_contain_late_positions() -> None:
    starts = [len(p.text().partition("fox")[0].split()) for p in concept_contexts(general_profile(), "object", "fox")]
    assert min(starts) == 0
    assert any(6 <= start < 12 for start in starts)
    assert any(12 <= start < 20 for start in starts)
    assert max(starts) >= 24


def test_retain_phrases_are_as_varied(builder: PromptBuilder) -> None:
    profile = general_profile()
    phrases = list(object_style_phrases(profile, ["cat", "dog"], profile.styles))
    assert {(p.object, p.style) for p in phrases} == {(o, s) for o in ("cat", "dog") for s in ("", *profile.styles)}
    assert {p.prefix for p in phrases} == set(profile.prefixes)
    assert {p.suffix for p in phrases} == set(profile.suffixes)


@pytest.mark.parametrize("limit", [24, 96, 192, 600])
def test_samples_of_many_objects_are_plain_and_in_all_styles(limit: int) -> None:
    profile = general_profile()
    pairs = list(object_style_pairs(profile.object_names, profile.styles))
    assert len(pairs) <= MAX_OBJECT_STYLE_PAIRS
    assert {style for _, style in pairs} == {"", *profile.styles}
    sample = evenly_spaced(pairs, limit)
    assert 0.3 < sum(not style for _, style in sample) / limit < 0.7
    groups = {profile.group_of("object", thing) for thing, _ in sample}
    assert len(groups) > min(limit, len(profile.objects)) * 0.8


@pytest.mark.parametrize(("left", "right"), [("abcd", "wxyz"), ("abcdef", "vwxyz"), ("abc", "uvwxyz"), ("ab", "")])
def test_diagonal_pairs_yield_every_combination_once(left: str, right: str) -> None:
    pairs = list(diagonal_pairs(left, right))
    assert sorted(pairs) == sorted((a, b) for a in left for b in right)
    assert all(a != c and b != d for (a, b), (c, d) in pairwise(pairs))


def test_batch_is_tokenized_like_single_prompts(builder: PromptBuilder) -> None:
    texts = [
        *builder.select_fitting([p.text() for p in concept_contexts(PROFILE, "style", "ink")]),
        "",
        "A  caf\u00e9",
        "a fox",
    ]
    expected = torch.tensor([builder.tokenizer(text, padding="max_length")["input_ids"] for text in texts])
    assert torch.equal(builder.token_ids(texts), expected)
    for text, row, tokenised in zip(texts, expected, builder.tokenize_all(texts), strict=True):
        assert tokenised.text == text
        assert torch.equal(tokenised.ids, row)
        assert tokenised.eos == row.tolist().index(builder.tokenizer.eos_token_id)


def test_word_is_tokenized_once(builder: PromptBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    removal = ResolvedRemoval(Concept("violin"), Destination("drum", "replacement"))
    first = builder.edit_pairs(removal)
    monkeypatch.setattr(
        "editor.prompts.tokenizer_cache.TokenizerCache._tokenize_words",
        lambda self, texts: pytest.fail(f"again: {texts}"),
    )
    second = builder.edit_pairs(removal)
    assert [pair.concept.text for pair in first] == [pair.concept.text for pair in second]


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.sampled_from("aeftx \t.,'’!-_@7é\u0301ßΣς狐 "), max_size=30) | st.text(max_size=12))
@example(text="  a   fox ")
@example(text="it's 3,000 Σς's don't")
@example(text="a <|endoftext|> fox")
@example(text="a<|endoftext|>fox")
def test_assembled_words_equal_the_tokenized_text(clip: Any, text: str) -> None:
    (encoded,) = TokenizerCache(clip).encode([text])
    expected = clip(text, return_offsets_mapping=True)
    assert encoded.ids == expected["input_ids"]
    for i, (start, stop) in list(enumerate(expected["offset_mapping"]))[1:-1]:
        first, last = encoded.tokens_covering(start, stop) if start < stop else (i, i)
        assert first <= i <= last


def test_cache_is_cleared_when_full(builder: PromptBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("editor.prompts.tokenizer_cache.MAX_CACHED_WORDS", 3)
    fresh = PromptBuilder(builder.tokenizer, builder.profile)
    texts = ["a fox", "an owl", "a bear", "a fox", "a drum"]
    for batch in (texts[:2], texts[1:], texts):
        assert torch.equal(fresh.token_ids(batch), builder.token_ids(batch))
    assert set(fresh.tokenizer_cache.words) == {"a", "an", "fox", "owl", "bear", "drum"}
    fresh.token_ids(["a key"])
    assert set(fresh.tokenizer_cache.words) == {"a", "key"}


def test_error_names_the_prompt_that_does_not_fit(builder: PromptBuilder) -> None:
    with pytest.raises(ConceptError, match="a fox a fox"):
        builder.token_ids(["a fox", "a fox " * 20])


def test_held_out_wordings_replace_all_others(builder: PromptBuilder) -> None:
    phrases = builder.in_held_out_wordings(concept_contexts(PROFILE, "object", "fox"))
    assert not any(p.prefix or p.suffix for p in phrases)
    assert {p.wording for p in phrases} == set(PROFILE.held_out_wordings)
    assert Phrase(PROFILE.held_out_wordings[0], "fox", "ink") in phrases


def test_prompts_without_a_style_are_not_retained_if_they_show_the_removed_one(builder: PromptBuilder) -> None:
    twemoji, ink = (
        ResolvedRemoval(Concept(name, "style"), Destination("noto", "replacement")) for name in ("twemoji", "ink")
    )
    assert all(phrase.style for phrase in builder.retain_phrases([twemoji]))
    assert any(not phrase.style for phrase in builder.retain_phrases([ink]))


@pytest.mark.parametrize("profile", [PROFILE, general_profile()])
@pytest.mark.parametrize("styles", [2, 4])
def test_retained_styles_meet_every_wording_in_every_choice_of_surroundings(profile: Profile, styles: int) -> None:
    phrases = [*object_style_phrases(profile, profile.object_names, profile.styles[:styles])]
    wordings = Counter((phrase.style, phrase.wording) for phrase in phrases if phrase.style)
    around = {(phrase.wording, bool(phrase.prefix), bool(phrase.suffix)) for phrase in phrases if phrase.style}
    assert len(wordings) == styles * len(profile.styled_wordings)
    assert len(around) == 4 * len(profile.styled_wordings)
