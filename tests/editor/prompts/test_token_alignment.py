from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editor.emoji.profile import PROFILE
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, align_tokens
from editor.prompts.concepts import choose_destination, strip_style, with_article
from editor.prompts.profile import general_profile
from editor.prompts.token_alignment import Role, RoleWeights


def words(builder: PromptBuilder, text: str) -> list[str]:
    return builder.tokenizer.convert_ids_to_tokens(builder.tokenizer(text)["input_ids"])


def aligned_tokens(builder: PromptBuilder, subject: str, text: str, destination: str) -> dict[str, str]:
    """Return token of the concept's prompt -> token of the destination's, without padding."""
    pair = builder.make_pair(subject, text, destination)
    left, right = words(builder, text), words(builder, destination)
    return {left[c.key]: right[c.value] for c in align_tokens(pair) if c.role != "padding"}


def test_tokens_are_aligned_by_role_for_subjects_of_different_length(builder: PromptBuilder) -> None:
    pairs = aligned_tokens(builder, "fox", "a fox in the style of noto", "a dog face in the style of noto")
    assert pairs == {"x</w>": "face</w>"} | {
        token: token for token in ["in</w>", "the</w>", "style</w>", "of</w>", "noto</w>", "<|endoftext|>"]
    }


def test_words_after_a_null_object_are_aligned_with_eos(builder: PromptBuilder) -> None:
    pairs = aligned_tokens(builder, "fox", "a fox, noto", "")
    assert set(pairs.values()) == {"<|endoftext|>"}


def test_words_around_a_dropped_style_stay_aligned(builder: PromptBuilder) -> None:
    text, meant = "a panda in the style of ink on a blue background", "a panda on a blue background"
    pairs = aligned_tokens(builder, "ink", text, meant)
    assert pairs["blue</w>"] == "blue</w>"
    assert pairs["background</w>"] == "background</w>"


def test_default_role_weights_are_one(builder: PromptBuilder) -> None:
    pair = builder.make_pair("fox", "a fox in the style of noto", "a dog face in the style of noto")
    sums: dict[str, float] = {}
    for column in align_tokens(pair):
        sums[column.role] = sums.get(column.role, 0) + column.weight
    assert sums == pytest.approx({"subject": 1, "trailing": 1, "eos": 1, "padding": 1})


@settings(max_examples=40, deadline=None)
@given(
    role_weights=st.fixed_dictionaries({role: st.sampled_from([0.0, 0.5, 3.0]) for role in get_args(Role)}),
    max_padding_positions=st.integers(1, 30) | st.none(),
    names=st.tuples(*[st.sampled_from(["fox", "four leaf clover", "jack-o-lantern", "dog face"])] * 2),
)
def test_role_weights_are_respected(
    builder: PromptBuilder, role_weights: dict[str, float], max_padding_positions: int | None, names: tuple[str, str]
) -> None:
    pair = builder.make_pair(names[0], f"a {names[0]}, ink", f"a {names[1]}, ink")
    tokens = align_tokens(pair, RoleWeights(**role_weights, max_padding_positions=max_padding_positions))
    weights = {role: sum(c.weight for c in tokens if c.role == role) for role in get_args(Role)}
    several = pair.last_subject > pair.first_subject
    assert weights == pytest.approx(role_weights | {"leading_subject": role_weights["leading_subject"] * several})
    assert sum(c.role == "padding" for c in tokens) <= (max_padding_positions or len(pair.concept.ids))


def test_sampled_padding_positions_are_spread_evenly(builder: PromptBuilder) -> None:
    pair = builder.make_pair("fox", "a fox", "a dog face")
    every = [c.key for c in align_tokens(pair) if c.role == "padding"]
    few = [c.key for c in align_tokens(pair, RoleWeights(max_padding_positions=4)) if c.role == "padding"]
    assert 2 <= len(few) <= 4
    assert few[0] == every[0]
    steps = {b - a for a, b in pairwise(few)}
    assert len(steps) == 1
    assert every[-1] - few[-1] < steps.pop()


def test_leading_subject_tokens_are_spread_over_the_destination(builder: PromptBuilder) -> None:
    roles = RoleWeights(leading_subject=1.0)

    def leading(subject: str, destination: str) -> list[tuple[str, str]]:
        text, meant = f"a {subject}, noto", f"a {destination}, noto" if destination else ""
        left, right = words(builder, text), words(builder, meant)
        tokens = align_tokens(builder.make_pair(subject, text, meant), roles)
        return [(left[c.key], right[c.value]) for c in tokens if c.role == "leading_subject"]

    clover, cake = words(builder, "four leaf clover")[1:-1], words(builder, "birthday cake")[1:-1]
    assert leading("fox", "fox") == [("fo", "fo")]
    pairs = leading("four leaf clover", "birthday cake")
    assert [left for left, _ in pairs] == clover[:-1]
    places = [cake.index(right) for _, right in pairs]
    assert places == sorted(places)
    assert places[0] == 0
    assert {right for _, right in leading("four leaf clover", "")} == {"<|endoftext|>"}


def test_subject_is_matched_as_a_whole_word(builder: PromptBuilder) -> None:
    text = "a fox in the style of ink on a pink background"
    first, last = builder.subject_span(text, "ink")
    assert words(builder, text)[first : last + 1] == words(builder, "ink")[1:-1]
    assert last < words(builder, text).index("on</w>")


@pytest.mark.parametrize(
    ("name", "phrase"),
    [("owl", "an owl"), ("unicorn", "a unicorn"), ("umbrella", "an umbrella"), ("the sun", "the sun")],
)
def test_articles(name: str, phrase: str) -> None:
    assert with_article(name) == phrase


@pytest.mark.parametrize("wording", [*PROFILE.styled_wordings, *PROFILE.held_out_wordings])
def test_wordings_without_style_are_grammatical(wording: str) -> None:
    assert "{style}" not in strip_style(wording)
    text = strip_style(wording).format(a="a fox", bare="fox")
    assert "fox" in text
    assert "style" not in text
    assert not text.startswith((" ", ",", "a e", "a i"))


def test_destinations(builder: PromptBuilder) -> None:
    fox, ink, usual = Concept("fox"), Concept("ink", "style"), Concept("twemoji", "style")
    assert choose_destination(fox, "dog face", "animal", PROFILE) == Destination("dog face", "replacement")
    assert choose_destination(fox, None, "animal", PROFILE) == Destination("animal", "generic")
    assert choose_destination(fox, None, None, PROFILE) == Destination("", "null")
    assert choose_destination(ink, None, None, PROFILE) == Destination("openmoji", "generic")
    assert choose_destination(ink, None, None, general_profile()) == Destination("", "null")
    assert choose_destination(usual, None, None, PROFILE) == Destination("openmoji", "generic"), (
        "its own default can't replace it"
    )


def test_edit_and_retain_prompts_do_not_use_held_out_wordings(builder: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
    seen = {pair.concept.text for pair in builder.edit_pairs(removal)}
    assert seen.isdisjoint(pair.concept.text for pair in builder.held_out_pairs(removal))
    texts = builder.retain_texts(builder.retain_phrases([removal]), 10_000)
    assert not any("fox" in text for text in texts)
    assert set(texts).isdisjoint(builder.held_out_retain_texts(builder.retain_phrases([removal]), 10_000))
