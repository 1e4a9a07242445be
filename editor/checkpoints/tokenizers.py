"""The tokenizer of an encoder: the checkpoint's own, or CLIP's where a checkpoint brings none.

CLIP's byte-pair merges come from OpenAI's ``bpe_simple_vocab_16e6.txt.gz`` (MIT licence, see NOTICE), of which its vocabulary
uses the first 48,894; ``merges.txt.gz`` holds those.
"""

import gzip
from functools import lru_cache
from pathlib import Path
from typing import Any

from editor.checkpoints.text_encoder import TextEncoder
from editor.errors import CheckpointError

MERGES_FILE = Path(__file__).with_name("merges.txt.gz")
BOS, EOS = "<|startoftext|>", "<|endoftext|>"
VOCABULARY_SIZE = 49408
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
"""Either of the first two is enough: the whole tokenizer, or the vocabulary with ``merges.txt``."""
CACHED_TOKENIZERS = 8
"""Tokenizers that a process keeps, of each make."""


def open_tokenizer(encoder: TextEncoder) -> Any:
    """A ``CLIPTokenizer`` that reads as many tokens as the encoder, padded as the encoder's pipeline pads.

    It takes longer to make than an edit, so the process keeps it: treat it as immutable.

    Raises:
        CheckpointError: the checkpoint has no tokenizer and its vocabulary is not CLIP's, or the tokenizer is unreadable
            or has tokens that the encoder does not know.
    """
    folder = encoder.tokenizer_folder
    stamps = tuple(file_stamp(folder / name) for name in TOKENIZER_FILES) if folder else ()
    if folder and any(stamps[:2]):
        tokenizer = load_tokenizer(folder, stamps, encoder.context)
    elif encoder.vocabulary == VOCABULARY_SIZE:
        tokenizer = clip_tokenizer(EOS if encoder.activation == "quick_gelu" else "!", encoder.context)
    else:
        raise CheckpointError(
            f"The {encoder.component} has no tokenizer beside it, and its {encoder.vocabulary} tokens are not CLIP's.",
            field="model",
            remedy="Add the tokenizer's folder.",
        )
    if len(tokenizer) > encoder.vocabulary:
        raise CheckpointError(
            f"The tokenizer of the {encoder.component} has {len(tokenizer)} tokens, the encoder {encoder.vocabulary}.",
            field="model",
            remedy="Use the tokenizer that belongs to this model.",
        )
    return tokenizer


def file_stamp(path: Path) -> tuple[int, int] | None:
    """What changes when a file does; None where there is none."""
    if not path.is_file():
        return None
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(CACHED_TOKENIZERS)
def load_tokenizer(folder: Path, stamps: tuple[tuple[int, int] | None, ...], context: int) -> Any:
    """The tokenizer of a folder; its padding is the pipeline's."""
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise what they like
        raise CheckpointError(
            f"The tokenizer in {folder} can't be read: {error}.", field="model", remedy="Fetch the model again."
        ) from error
    # Some tokenizers name no length, or transformers loses it: what the encoder reads is what counts.
    tokenizer.model_max_length = min(tokenizer.model_max_length, context)
    return tokenizer


@lru_cache(CACHED_TOKENIZERS)
def clip_tokenizer(pad: str, context: int) -> Any:
    """CLIP's tokenizer. OpenAI's encoders were trained on padding with EOS, OpenCLIP's with token 0, which is ``!``."""
    from transformers import CLIPTokenizer

    merges = read_merges()
    return CLIPTokenizer(vocab=build_vocabulary(merges), merges=merges, pad_token=pad, model_max_length=context)


def read_merges() -> list[tuple[str, str]]:
    """The merges in order of rank."""
    lines = gzip.decompress(MERGES_FILE.read_bytes()).decode().splitlines()
    return [(left, right) for left, right in (line.split(" ") for line in lines)]


def build_vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Bytes, bytes that end a word, merged pairs, and the two marks."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), BOS, EOS]
    return {entry: index for index, entry in enumerate(entries)}
