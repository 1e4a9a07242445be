"""A sample of prompts is as varied as its size allows, because gates count prompts as independent."""

from collections import Counter

import pytest

from editor.emoji import WEIGHTS
from editor.emoji.vocabulary import OBJECT_NAMES
from editor.judging.prompt_groups import removal_phrases
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
