"""The prompts of studies are as varied as their number allows."""

from collections import Counter

import pytest

from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from research.harness import other_phrases


@pytest.mark.parametrize("removed", ["fox", "ink", "twemoji"])
@pytest.mark.parametrize("limit", [32, 96])
def test_other_prompts_name_every_other_style_and_many_objects(removed: str, limit: int) -> None:
    phrases = other_phrases([removed], limit)
    styles = Counter(phrase.style for phrase in phrases)
    assert {*styles} == {*STYLES} - {removed}
    assert max(styles.values()) - min(styles.values()) <= 1
    assert len({phrase.object for phrase in phrases}) == min(limit, len({*OBJECT_NAMES} - {removed}))
