"""Fixtures with CLIP's own tokenizer."""

from typing import Any

import pytest

from editor.checkpoints.tokenizers import build_vocabulary, read_merges
from editor.prompts import PromptBuilder
from editor.prompts.profile import general_profile


@pytest.fixture(scope="session")
def clip() -> Any:
    from transformers import CLIPTokenizer

    merges = read_merges()
    return CLIPTokenizer(vocab=build_vocabulary(merges), merges=merges, model_max_length=77)


@pytest.fixture(scope="session")
def clip_builder(clip: Any) -> PromptBuilder:
    """The prompt builder of a Stable Diffusion without a profile."""
    return PromptBuilder(clip, general_profile())
