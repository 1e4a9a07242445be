"""Tokens of textual inversion are read as the pipeline reads them: every vector, and names with spaces."""

from typing import Any

import pytest
from diffusers.loaders.textual_inversion import TextualInversionLoaderMixin
from hypothesis import given
from hypothesis import strategies as st

from editor.checkpoints.tokenizers import build_vocabulary, read_merges
from editor.prompts import Concept, Destination, PromptBuilder, ResolvedRemoval
from editor.prompts.profile import general_profile
from editor.prompts.tokenizer_cache import TokenizerCache

ADDED = ("bad_quality", "bad_quality_1", "bad_quality_2", "my fox", "<cat>")
PIECES = st.sampled_from([*ADDED, "a", "photo", "Fox", "MY FOX", "bad", "_1", "é", ",", "!", " ", "  ", "my", "fox"])


@pytest.fixture(scope="module", params=["!", "<|endoftext|>"])
def inverted(request: Any) -> Any:
    """CLIP's tokenizer, as OpenCLIP and as OpenAI pad, with the tokens of three embeddings."""
    from transformers import CLIPTokenizer

    merges = read_merges()
    tokenizer = CLIPTokenizer(
        vocab=build_vocabulary(merges), merges=merges, pad_token=request.param, model_max_length=77
    )
    tokenizer.add_tokens(list(ADDED))
    return tokenizer


def pipeline_ids(tokenizer: Any, text: str) -> list[int]:
    converted = TextualInversionLoaderMixin().maybe_convert_prompt(text, tokenizer)
    return list(tokenizer(converted)["input_ids"])


@given(pieces=st.lists(PIECES, max_size=8), space=st.booleans())
def test_texts_have_the_tokens_that_the_pipeline_reads(inverted: Any, pieces: list[str], space: bool) -> None:
    text = (" " if space else "").join(pieces)
    assert TokenizerCache(inverted).encode([text])[0].ids == pipeline_ids(inverted, text)


@given(words=st.lists(st.sampled_from(["a", "Photo", "of", "café", "fox!", "don't", "", "42", "x,y"]), max_size=8))
def test_texts_without_added_tokens_are_assembled_from_words(clip: Any, words: list[str]) -> None:
    text = " ".join(words)
    assert TokenizerCache(clip).encode([text])[0].ids == list(clip(text)["input_ids"])


@pytest.mark.parametrize("name", ["bad_quality", "my fox", "<cat>"])
def test_subject_covers_every_vector(inverted: Any, name: str) -> None:
    builder = PromptBuilder(inverted, general_profile())
    own = pipeline_ids(inverted, name)[1:-1]
    for pair in builder.edit_pairs(ResolvedRemoval(Concept(name), Destination("dog", "replacement"))):
        assert pair.concept.ids[pair.first_subject : pair.last_subject + 1].tolist() == own
