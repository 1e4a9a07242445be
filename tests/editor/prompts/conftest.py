"""CLIP's own tokenizer."""

from typing import Any

import pytest

from editor.checkpoints.tokenizers import read_merges, vocabulary
from editor.prompts import PromptBook
from editor.prompts.profile import GENERAL


@pytest.fixture(scope="session")
def clip() -> Any:
    from transformers import CLIPTokenizer

    merges = read_merges()
    return CLIPTokenizer(vocab=vocabulary(merges), merges=merges, model_max_length=77)


@pytest.fixture(scope="session")
def clip_book(clip: Any) -> PromptBook:
    """A Stable Diffusion without a profile."""
    return PromptBook(clip, GENERAL)
