"""Spellings: of other tokens than the name, of no other meaning, the same every time."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.conflicts import normalize_words
from editor.prompts.spelling_variants import spelling_variants, swap_number
from editor.prompts.tokenizer_cache import TokenizerCache

ALPHABET = "abcdefghiklmnoprstuvwyé-' "


@pytest.fixture(scope="module")
def tokens(clip: Any) -> TokenizerCache:
    return TokenizerCache(clip)


@pytest.mark.parametrize(
    ("name", "some"),
    [
        ("hot dog", ["hotdog", "hot-dog", "hot_dog", "@hotdog", "hot dogs", "hot dog's"]),
        ("jack-o-lantern", ["jackolantern", "jack o lantern", "jack-o-lanterns"]),
        ("mickey mouse", ["mickeymouse", "@mickeymouse", "mickey mice"]),
        ("Vincent van Gogh", ["VincentvanGogh", "Vincent_van_Gogh", "Vincent van Gogh's"]),
        ("café", ["cafe"]),
        ("gray wolf", ["grey wolf", "gray wolves"]),
        ("doughnut", ["donut"]),
        ("rabbit", ["rabbits", "rabit"]),
        ("cherries", ["cherry"]),
        ("elephant", ["elefant", "elephent"]),
        ("Picasso", ["Picaso"]),
    ],
)
def test_what_people_write(tokens: TokenizerCache, name: str, some: list[str]) -> None:
    assert set(some) <= set(spelling_variants(name, "object", tokens, set(), 12))


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("angel", "angle"),
        ("desert", "dessert"),
        ("silver", "sliver"),
        ("trial", "trail"),
        ("canon", "cannon"),
        ("knight", "night"),
    ],
)
def test_a_misspelling_is_no_other_word(tokens: TokenizerCache, name: str, other: str) -> None:
    assert other not in spelling_variants(name, "object", tokens, set(), 50)


def test_short_words_are_not_misspelt(tokens: TokenizerCache) -> None:
    assert spelling_variants("fox", "object", tokens, set(), 12) == ["foxes", "fox's"]
    assert spelling_variants("bear", "object", tokens, set(), 12) == ["bears", "bear's"]


def test_people_have_no_plural(tokens: TokenizerCache) -> None:
    assert "Andy Warhols" not in spelling_variants("Andy Warhol", "style", tokens, set(), 50)
    assert "Taylor Swifts" not in spelling_variants("Taylor Swift", "object", tokens, set(), 50)


@pytest.mark.parametrize("name", ["狐狸", "★", "C++", "a", "''", "--"])
def test_any_name_is_survived(tokens: TokenizerCache, name: str) -> None:
    assert name not in spelling_variants(name, "object", tokens, set(), 12)


def test_case_and_accents_count_where_the_tokenizer_keeps_them(tokens: TokenizerCache) -> None:
    """CLIP folds case: no variant differs by case alone."""
    found = [text.lower() for text in spelling_variants("Mickey Mouse", "object", tokens, set(), 50)]
    assert len(set(found)) == len(found)


@settings(deadline=None, max_examples=60)
@given(
    name=st.text(ALPHABET, min_size=1, max_size=24).map(str.strip).filter(bool),
    taken=st.sets(st.sampled_from(["foxes", "hotdog", "a b", "tables"])),
    limit=st.integers(0, 12),
)
def test_every_spelling_is_other_tokens_and_free(
    tokens: TokenizerCache, name: str, taken: set[str], limit: int
) -> None:
    words = {normalize_words(text) for text in taken}
    found = spelling_variants(name, "object", tokens, words, limit)
    assert found == spelling_variants(name, "object", TokenizerCache(tokens.tokenizer), words, limit)
    assert len(found) <= limit
    encoded = [tuple(tokens.tokenizer(text)["input_ids"]) for text in [name, *found]]
    assert len(set(encoded)) == len(encoded)
    assert not words & {normalize_words(text) for text in found}


@pytest.mark.parametrize(
    ("one", "many"),
    [
        ("fox", "foxes"),
        ("wolf", "wolves"),
        ("cherry", "cherries"),
        ("horse", "horses"),
        ("shoe", "shoes"),
        ("glass", "glasses"),
    ],
)
def test_numbers(one: str, many: str) -> None:
    assert swap_number(one) == many
    assert many in ("glasses",) or swap_number(many) == one
