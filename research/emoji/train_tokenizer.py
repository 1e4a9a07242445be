"""Train a CLIP-format byte-level BPE of about a thousand entries, which splits names into several tokens as CLIP's does.

Imported by ``research.emoji.build``.
"""

import json
from collections.abc import Iterator

from tokenizers import pre_tokenizers, trainers
from transformers import CLIPTokenizer

from editor.emoji.vocabulary import (
    BACKGROUNDS,
    OBJECT_NAMES,
    PLAIN_WORDINGS,
    STYLED_WORDINGS,
    STYLES,
    caption,
)

CONTEXT = 24
MERGES = 300
"""Number of merges at which the wordings' words are single tokens and most names split into two or three."""
BOS, EOS = "<|startoftext|>", "<|endoftext|>"


def all_captions() -> Iterator[str]:
    """Yield every caption of the training data once."""
    for name in OBJECT_NAMES:
        for background in BACKGROUNDS:
            yield from (caption(wording, name, background=background) for wording in PLAIN_WORDINGS)
            for style in STYLES:
                yield from (caption(wording, name, style, background) for wording in STYLED_WORDINGS)


def train_tokenizer() -> CLIPTokenizer:
    """Learn the merges from the captions; any other text still encodes, byte by byte."""
    tokenizer = CLIPTokenizer().backend_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) * 2 + MERGES, end_of_word_suffix="</w>", initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(all_captions(), trainer)
    learned = json.loads(tokenizer.to_str())["model"]["merges"]
    merges = [(left, right) for left, right in learned][:MERGES]
    entries = alphabet + [f"{letter}</w>" for letter in alphabet] + [a + b for a, b in merges] + [BOS, EOS]
    vocabulary = {entry: index for index, entry in enumerate(dict.fromkeys(entries))}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=CONTEXT)
