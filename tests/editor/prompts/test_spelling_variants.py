"""Spelling variants have other tokens than the name, no other meaning, and are deterministic."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api_schemas.conflicts import normalize_words
from editor.prompts.spelling_variants import spelling_variants, swap_number
from editor.prompts.tokenizer_cache import TokenizerCache

ALPHABET = "abcdefghiklmnoprstuvwyé-' "


@pytest.fixture(scope="module")
def tokenizer(clip: Any) -> TokenizerCache:
    return TokenizerCache(clip)


@pytest.mark.parametrize(
    ("name", "expected"),
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
def test_common_variants_are_generated(tokenizer: TokenizerCache, name: str, expected: list[str]) -> None:
    assert set(expected) <= set(spelling_variants(name, "object", tokenizer, set(), 12))


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
def test_misspelling_is_not_another_word(tokenizer: TokenizerCache, name: str, other: str) -> None:
    assert other not in spelling_variants(name, "object", tokenizer, set(), 50)


def test_short_words_are_not_misspelled(tokenizer: TokenizerCache) -> None:
    assert spelling_variants("fox", "object", tokenizer, set(), 12) == ["foxes", "fox's"]
    assert spelling_variants("bear", "object", tokenizer, set(), 12) == ["bears", "bear's"]


def test_proper_names_have_no_plural(tokenizer: TokenizerCache) -> None:
    assert "Andy Warhols" not in spelling_variants("Andy Warhol", "style", tokenizer, set(), 50)
    assert "Taylor Swifts" not in spelling_variants("Taylor Swift", "object", tokenizer, set(), 50)


@pytest.mark.parametrize("name", ["狐狸", "★", "C++", "a", "''", "--"])
def test_unusual_names_do_not_fail(tokenizer: TokenizerCache, name: str) -> None:
    assert name not in spelling_variants(name, "object", tokenizer, set(), 12)


def test_no_variant_differs_by_case_alone(tokenizer: TokenizerCache) -> None:
    variants = [text.lower() for text in spelling_variants("Mickey Mouse", "object", tokenizer, set(), 50)]
    assert len(set(variants)) == len(variants)


@settings(deadline=None, max_examples=60)
@given(
    name=st.text(ALPHABET, min_size=1, max_size=24).map(str.strip).filter(bool),
    reserved=st.sets(st.sampled_from(["foxes", "hotdog", "a b", "tables"])),
    limit=st.integers(0, 12),
)
def test_variants_have_distinct_tokens_and_are_not_reserved(
    tokenizer: TokenizerCache, name: str, reserved: set[str], limit: int
) -> None:
    words = {normalize_words(text) for text in reserved}
    variants = spelling_variants(name, "object", tokenizer, words, limit)
    assert variants == spelling_variants(name, "object", TokenizerCache(tokenizer.tokenizer), words, limit)
    assert len(variants) <= limit
    encoded = [tuple(tokenizer.tokenizer(text)["input_ids"]) for text in [name, *variants]]
    assert len(set(encoded)) == len(encoded)
    assert not words & {normalize_words(text) for text in variants}


@pytest.mark.parametrize(
    ("singular", "plural"),
    [
        ("fox", "foxes"),
        ("wolf", "wolves"),
        ("cherry", "cherries"),
        ("horse", "horses"),
        ("shoe", "shoes"),
        ("glass", "glasses"),
    ],
)
def test_swap_number(singular: str, plural: str) -> None:
    assert swap_number(singular) == plural
    assert plural in ("glasses",) or swap_number(plural) == singular
