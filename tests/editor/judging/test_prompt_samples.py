"""A sample of prompts is as varied as its size allows, because gates count prompts as independent."""

from collections import Counter

import pytest

from editor.emoji import WEIGHTS
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.judging.neighbours import Neighbours
from editor.judging.prompt_groups import in_every_wording, neighbour_phrases, removal_phrases
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval, open_prompt_builder


@pytest.fixture(scope="module")
def builder() -> PromptBuilder:
    return open_prompt_builder(WEIGHTS)


@pytest.mark.parametrize("limit", [24, 96, 192, 384])
def test_a_styles_prompts_name_as_many_objects_as_there_are(builder: PromptBuilder, limit: int) -> None:
    ink = ResolvedRemoval(Concept("ink", "style"), Destination("noto", "replacement"))
    named, reworded, _ = removal_phrases(builder, ink, limit)
    assert len({phrase.object for phrase in reworded}) == min(limit, len(OBJECT_NAMES))
    assert len({phrase.object for phrase in named}) >= 0.75 * min(limit, len(OBJECT_NAMES))
    for phrases in (named, reworded):
        assert len({phrase.wording for phrase in phrases}) >= 4
        assert len({phrase.suffix for phrase in phrases}) >= 5


@pytest.mark.parametrize("limit", [24, 96])
def test_an_objects_prompts_name_every_style_equally_often(builder: PromptBuilder, limit: int) -> None:
    fox = ResolvedRemoval(Concept("fox"), Destination("dog face", "replacement"))
    _, reworded, _ = removal_phrases(builder, fox, limit)
    styles = Counter(phrase.style for phrase in reworded)
    assert {*styles} == {*builder.profile.styles}
    assert max(styles.values()) - min(styles.values()) <= 1


@pytest.mark.parametrize("limit", [12, 24, 48])
def test_neighbours_have_an_equal_share_in_every_style(builder: PromptBuilder, limit: int) -> None:
    phrases = neighbour_phrases(builder, Neighbours("object", ["owl", "horse", "snail"]), limit)
    assert Counter(phrase.object for phrase in phrases) == dict.fromkeys(["owl", "horse", "snail"], limit // 3)
    styles = Counter(phrase.style for phrase in phrases)
    assert len(styles) >= 4
    assert max(styles.values()) - min(styles.values()) <= limit // 12


def test_styles_are_neighbours_on_all_objects(builder: PromptBuilder) -> None:
    phrases = neighbour_phrases(builder, Neighbours("style", ["noto", "fluent"]), 48)
    assert Counter(phrase.style for phrase in phrases) == {"noto": 24, "fluent": 24}
    assert len({phrase.object for phrase in phrases}) == 48


def test_more_prompts_about_what_is_retained_are_new_ones(builder: PromptBuilder) -> None:
    ink = ResolvedRemoval(Concept("ink", "style"), Destination("openmoji", "replacement"))
    phrases = in_every_wording(builder, builder.retain_phrases([ink]), "object")
    assert (
        len(set(phrases))
        == len(phrases)
        == len(OBJECT_NAMES) * (len(builder.profile.styles) - 1) * len(builder.profile.held_out_wordings)
    )
