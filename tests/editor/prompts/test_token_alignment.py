from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from editor.emoji.profile import PROFILE
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, align_tokens
from editor.prompts.concepts import choose_destination, strip_style, with_article
from editor.prompts.profile import GENERAL_PROFILE
from editor.prompts.token_alignment import Role, RoleWeights


def words(book: PromptBuilder, text: str) -> list[str]:
    return book.tokenizer.convert_ids_to_tokens(book.tokenizer(text)["input_ids"])


def matched(book: PromptBuilder, subject: str, text: str, destination: str) -> dict[str, str]:
    """Token of the concept's prompt -> token of the destination's, padding left out."""
    pair = book.make_pair(subject, text, destination)
    left, right = words(book, text), words(book, destination)
    return {left[c.key]: right[c.value] for c in align_tokens(pair) if c.role != "padding"}


def test_tokens_pair_by_role_although_the_subjects_differ_in_length(book: PromptBuilder) -> None:
    pairs = matched(book, "fox", "a fox in the style of noto", "a dog face in the style of noto")
    assert pairs == {"x</w>": "face</w>"} | {
        token: token for token in ["in</w>", "the</w>", "style</w>", "of</w>", "noto</w>", "<|endoftext|>"]
    }


def test_what_a_null_object_leaves_takes_the_value_of_eos(book: PromptBuilder) -> None:
    pairs = matched(book, "fox", "a fox, noto", "")
    assert set(pairs.values()) == {"<|endoftext|>"}


def test_a_dropped_style_keeps_the_words_around_it(book: PromptBuilder) -> None:
    text, meant = "a panda in the style of ink on a blue background", "a panda on a blue background"
    pairs = matched(book, "ink", text, meant)
    assert pairs["blue</w>"] == "blue</w>"
    assert pairs["background</w>"] == "background</w>"


def test_each_role_of_a_prompt_weighs_one(book: PromptBuilder) -> None:
    pair = book.make_pair("fox", "a fox in the style of noto", "a dog face in the style of noto")
    sums: dict[str, float] = {}
    for column in align_tokens(pair):
        sums[column.role] = sums.get(column.role, 0) + column.weight
    assert sums == pytest.approx({"subject": 1, "trailing": 1, "eos": 1, "padding": 1})


@settings(max_examples=40, deadline=None)
@given(
    shares=st.fixed_dictionaries({role: st.sampled_from([0.0, 0.5, 3.0]) for role in get_args(Role)}),
    max_padding_positions=st.integers(1, 30) | st.none(),
    names=st.tuples(*[st.sampled_from(["fox", "four leaf clover", "jack-o-lantern", "dog face"])] * 2),
)
def test_each_role_weighs_what_it_is_given(
    book: PromptBuilder, shares: dict[str, float], max_padding_positions: int | None, names: tuple[str, str]
) -> None:
    pair = book.make_pair(names[0], f"a {names[0]}, ink", f"a {names[1]}, ink")
    columns = align_tokens(pair, RoleWeights(**shares, max_padding_positions=max_padding_positions))
    found = {role: sum(c.weight for c in columns if c.role == role) for role in get_args(Role)}
    several = pair.last_subject > pair.first_subject
    assert found == pytest.approx(shares | {"leading_subject": shares["leading_subject"] * several})
    assert sum(c.role == "padding" for c in columns) <= (max_padding_positions or len(pair.concept.ids))


def test_a_few_max_padding_positions_are_spread_over_all(book: PromptBuilder) -> None:
    pair = book.make_pair("fox", "a fox", "a dog face")
    every = [c.key for c in align_tokens(pair) if c.role == "padding"]
    few = [c.key for c in align_tokens(pair, RoleWeights(max_padding_positions=4)) if c.role == "padding"]
    assert 2 <= len(few) <= 4
    assert few[0] == every[0]
    steps = {b - a for a, b in pairwise(few)}
    assert len(steps) == 1
    assert every[-1] - few[-1] < steps.pop()


def test_earlier_tokens_of_the_subject_follow_the_destination(book: PromptBuilder) -> None:
    roles = RoleWeights(leading_subject=1.0)

    def leading(subject: str, destination: str) -> list[tuple[str, str]]:
        text, meant = f"a {subject}, noto", f"a {destination}, noto" if destination else ""
        left, right = words(book, text), words(book, meant)
        columns = align_tokens(book.make_pair(subject, text, meant), roles)
        return [(left[c.key], right[c.value]) for c in columns if c.role == "leading_subject"]

    clover, cake = words(book, "four leaf clover")[1:-1], words(book, "birthday cake")[1:-1]
    assert leading("fox", "fox") == [("fo", "fo")]
    pairs = leading("four leaf clover", "birthday cake")
    assert [left for left, _ in pairs] == clover[:-1]
    places = [cake.index(right) for _, right in pairs]
    assert places == sorted(places)
    assert places[0] == 0
    assert {right for _, right in leading("four leaf clover", "")} == {"<|endoftext|>"}


def test_the_subject_is_a_whole_word(book: PromptBuilder) -> None:
    text = "a fox in the style of ink on a pink background"
    first, last = book.subject_span(text, "ink")
    assert words(book, text)[first : last + 1] == words(book, "ink")[1:-1]
    assert last < words(book, text).index("on</w>")


@pytest.mark.parametrize(
    ("name", "phrase"),
    [("owl", "an owl"), ("unicorn", "a unicorn"), ("umbrella", "an umbrella"), ("the sun", "the sun")],
)
def test_articles(name: str, phrase: str) -> None:
    assert with_article(name) == phrase


@pytest.mark.parametrize("wording", [*PROFILE.styled_wordings, *PROFILE.held_out_wordings])
def test_every_wording_reads_well_without_its_style(wording: str) -> None:
    assert "{style}" not in strip_style(wording)
    text = strip_style(wording).format(a="a fox", bare="fox")
    assert "fox" in text
    assert "style" not in text
    assert not text.startswith((" ", ",", "a e", "a i"))


def test_destinations(book: PromptBuilder) -> None:
    fox, ink, usual = Concept("fox"), Concept("ink", "style"), Concept("twemoji", "style")
    assert choose_destination(fox, "dog face", "animal", PROFILE) == Destination("dog face", "replacement")
    assert choose_destination(fox, None, "animal", PROFILE) == Destination("animal", "generic")
    assert choose_destination(fox, None, None, PROFILE) == Destination("", "null")
    assert choose_destination(ink, None, None, PROFILE) == Destination("twemoji", "generic")
    assert choose_destination(ink, None, None, GENERAL_PROFILE) == Destination("", "null")
    assert choose_destination(usual, None, None, PROFILE) == Destination("openmoji", "generic"), (
        "its own default can't replace it"
    )


def test_held_out_wordings_never_enter_an_edit(book: PromptBuilder) -> None:
    removal = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
    seen = {pair.concept.text for pair in book.edit_pairs(removal)}
    assert seen.isdisjoint(pair.concept.text for pair in book.held_out_pairs(removal))
    kept = book.retain_texts(book.retain_phrases([removal]), 10_000)
    assert not any("fox" in text for text in kept)
    assert set(kept).isdisjoint(book.held_out_retain_texts(book.retain_phrases([removal]), 10_000))
