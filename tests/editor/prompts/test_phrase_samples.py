"""Samples of phrases name every object and style equally often, whatever the order of the phrases."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editor.emoji import WEIGHTS
from editor.emoji.vocabulary import OBJECT_NAMES, STYLES
from editor.prompts import Concept, Destination, ResolvedRemoval, open_prompt_builder
from editor.prompts.concepts import Phrase
from editor.prompts.phrase_samples import sample_varied
from editor.prompts.prompt_builder import name_spans


@given(
    st.lists(
        st.builds(
            Phrase, st.sampled_from(("{a}", "{a}, {style}")), st.sampled_from("abcde"), st.sampled_from(("", "x"))
        ),
        max_size=60,
    ),
    st.integers(0, 40),
)
def test_every_subject_has_its_share(phrases: list[Phrase], limit: int) -> None:
    available = Counter((phrase.object, phrase.style) for phrase in set(phrases))
    sample = sample_varied(phrases, limit)
    taken = Counter((phrase.object, phrase.style) for phrase in sample)
    assert len(set(sample)) == len(sample) == min(limit, len(set(phrases)))
    assert {*sample} <= {*phrases}
    most = max(taken.values(), default=0)
    assert all(taken[subject] >= min(count, most - 1) for subject, count in available.items())


@pytest.mark.parametrize("removed", STYLES)
@pytest.mark.parametrize("limit", [48, 96])
def test_held_out_retain_prompts_name_every_other_style_equally_often(removed: str, limit: int) -> None:
    builder = open_prompt_builder(WEIGHTS)
    removal = ResolvedRemoval(
        Concept(removed, "style"), Destination(next(s for s in STYLES if s != removed), "replacement")
    )
    texts = builder.held_out_retain_texts(builder.retain_phrases([removal]), limit)
    named = Counter(style for text in texts for style in STYLES if name_spans(style, text))
    assert named == dict.fromkeys([style for style in STYLES if style != removed], limit // (len(STYLES) - 1))
    assert len({max((name for name in OBJECT_NAMES if name_spans(name, text)), key=len) for text in texts}) == limit
