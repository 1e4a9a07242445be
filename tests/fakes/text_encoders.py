"""Tiny text encoders of every kind that a pipeline reads prompts with: the true classes with random weights, and tokenizers."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from editor.sites.prompt_formats import lumina2_format, qwen_image_format, sana_format
from research.emoji.train_tokenizer import CONTEXT, train_tokenizer

WIDTH = 32
"""Width of every text encoder."""
PIECES = ("a", "fox", "dog", "face", "cat", "owl", "pizza", "in", "the", "style", "of", "noto", "ink")
"""Words that the tokenizers of T5 and Gemma know; they split others into letters."""
PRINTABLE = frozenset(map(chr, range(33, 127)))
LETTERS = "abcdefghijklmnopqrstuvwxyz"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
CHAT_TEMPLATE = (
    "{% for one in messages %}" + TURN_START + "{{ one.role }} {{ one.content }}" + TURN_END + "{% endfor %}"
)
"""The form of a conversation, in which Z-Image's pipeline puts a prompt."""


@cache
def clip_tokenizer() -> CLIPTokenizer:
    return train_tokenizer()


def clip(*, projected: bool = False, activation: str = "quick_gelu") -> CLIPTextModel:
    tokenizer = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        projection_dim=WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        hidden_act=activation,
        max_position_embeddings=CONTEXT,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def t5(width: int = WIDTH) -> tuple[T5EncoderModel, T5Tokenizer]:
    words = ["<pad>", "</s>", "<unk>", *(f"▁{word}" for word in PIECES), "▁", *LETTERS]
    tokenizer = T5Tokenizer(vocab=[(word, -float(i)) for i, word in enumerate(words)], extra_ids=0)
    config = T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=8, d_ff=WIDTH, num_layers=2, num_heads=4)
    return T5EncoderModel(config), tokenizer


def gemma(width: int = WIDTH) -> tuple[Gemma2Model, GemmaTokenizer]:
    merges = letter_merges(f"▁{word}" for word in [*PIECES, *instruction_words()])
    words = ["<pad>", "<eos>", "<bos>", "<unk>", "▁", *sorted(PRINTABLE), *map("".join, merges)]
    tokenizer = GemmaTokenizer(vocab={word: i for i, word in enumerate(words)}, merges=merges)
    config = language_model(tokenizer, width) | {"head_dim": 8, "attn_implementation": "eager"}
    return Gemma2Model(Gemma2Config(**config)), tokenizer


def instruction_words() -> list[str]:
    """Return the words that Sana's and Lumina 2's pipelines put before a prompt."""
    texts = (one(Path()).before for one in (sana_format, lumina2_format))
    return sorted({word for text in texts for word in text.split()})


def letter_merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Return the merges of byte-pair encoding by which words become one token each, letter by letter."""
    return list(dict.fromkeys((word[:i], word[i]) for word in words for i in range(1, len(word))))


def qwen3() -> tuple[Qwen3Model, Qwen2Tokenizer]:
    tokenizer = qwen_tokenizer()
    return Qwen3Model(Qwen3Config(**language_model(tokenizer), head_dim=8)), tokenizer


def qwen2_5_vl() -> tuple[Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer]:
    tokenizer = qwen_tokenizer()
    start, end = tokenizer.convert_tokens_to_ids([TURN_START, TURN_END])
    config = Qwen2_5_VLConfig(
        text_config=language_model(tokenizer)
        | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2]}},
        vision_config={"depth": 1, "hidden_size": 16, "num_heads": 2, "out_hidden_size": WIDTH, "patch_size": 4},
        image_token_id=start, video_token_id=start, vision_start_token_id=start, vision_end_token_id=end,
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config), tokenizer


def qwen_tokenizer() -> Qwen2Tokenizer:
    around = qwen_image_format(Path())
    known = re.findall(r"\w+", f"{around.before} {around.after}")
    merges = letter_merges([*(f"Ġ{word}" for word in known), *known])
    words = ["<|endoftext|>", TURN_START, TURN_END, *sorted(ByteLevel.alphabet()), *map("".join, merges)]
    special = [TURN_START, TURN_END]
    tokenizer = Qwen2Tokenizer(
        vocab={word: i for i, word in enumerate(words)}, merges=merges, additional_special_tokens=special
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def language_model(tokenizer: Any, width: int = WIDTH) -> dict[str, Any]:
    """Return the configuration that all language models share."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": width,
        "intermediate_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": None,
        "eos_token_id": None,
    }
