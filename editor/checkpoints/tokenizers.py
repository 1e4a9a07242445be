"""The tokenizer of an encoder: the checkpoint's own, or CLIP's where a checkpoint brings none.

CLIP's byte-pair merges come from OpenAI's ``bpe_simple_vocab_16e6.txt.gz`` (MIT licence, see NOTICE), of which its vocabulary
uses the first 48,894; ``merges.txt.gz`` holds those.
"""

import gzip
from pathlib import Path
from typing import Any

from editor.checkpoints.encoder import TextEncoder
from editor.errors import CheckpointError

MERGES = Path(__file__).with_name("merges.txt.gz")
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
VOCABULARY = 49408
BACKENDS = ("tokenizer.json", "vocab.json")
"""Either is enough: the whole tokenizer, or the vocabulary with ``merges.txt``."""


def open_tokenizer(encoder: TextEncoder) -> Any:
    """A ``CLIPTokenizer`` that reads as many tokens as the encoder, padded as the encoder's pipeline pads.

    Raises:
        CheckpointError: the checkpoint has no tokenizer and its vocabulary is not CLIP's, or the tokenizer is unreadable
            or has tokens that the encoder does not know.
    """
    folder = encoder.tokenizer_folder
    tokenizer = saved(folder) if folder and any((folder / name).is_file() for name in BACKENDS) else own(encoder)
    if len(tokenizer) > encoder.vocabulary:
        raise CheckpointError(
            f"The tokenizer of the {encoder.component} has {len(tokenizer)} tokens, the encoder {encoder.vocabulary}.",
            field="model",
            remedy="Use the tokenizer that belongs to this model.",
        )
    # Some tokenizers name no length, or transformers loses it: what the encoder reads is what counts.
    tokenizer.model_max_length = min(tokenizer.model_max_length, encoder.context)
    return tokenizer


def saved(folder: Path) -> Any:
    """The tokenizer of a folder; its padding is the pipeline's."""
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise what they like
        raise CheckpointError(
            f"The tokenizer in {folder} can't be read: {error}.", field="model", remedy="Fetch the model again."
        ) from error


def own(encoder: TextEncoder) -> Any:
    """CLIP's tokenizer. OpenAI's encoders were trained on padding with EOS, OpenCLIP's with token 0, which is ``!``."""
    if encoder.vocabulary != VOCABULARY:
        raise CheckpointError(
            f"The {encoder.component} has no tokenizer beside it, and its {encoder.vocabulary} tokens are not CLIP's.",
            field="model",
            remedy="Add the tokenizer's folder.",
        )
    from transformers import CLIPTokenizer

    merges = read_merges()
    pad = EOS if encoder.activation == "quick_gelu" else "!"
    return CLIPTokenizer(vocab=vocabulary(merges), merges=merges, pad_token=pad, model_max_length=encoder.context)


def read_merges() -> list[tuple[str, str]]:
    """The merges in order of rank."""
    lines = gzip.decompress(MERGES.read_bytes()).decode().splitlines()
    return [(left, right) for left, right in (line.split(" ") for line in lines)]


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Bytes, bytes that end a word, merged pairs, and the two marks."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), BOS, EOS]
    return {entry: index for index, entry in enumerate(entries)}
