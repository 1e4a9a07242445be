"""Open the tokenizer of a text encoder: the checkpoint's own, or CLIP's if the checkpoint has none.

CLIP's byte-pair merges come from OpenAI's ``bpe_simple_vocab_16e6.txt.gz`` (MIT licence, see NOTICE). Its vocabulary uses the
first 48,894 of them, which are in ``merges.txt.gz``.
"""

import gzip
from functools import lru_cache
from pathlib import Path
from typing import Any

from editor.checkpoints.base_model import Checkpoint
from editor.checkpoints.clip_tokenizer_files import ClipSettings, read_clip_settings
from editor.checkpoints.prompt_tokenizer import BOS, EOS, Merges, PromptTokenizer, special_token
from editor.checkpoints.text_encoder import TextEncoder
from editor.errors import CheckpointError
from editor.io.file_version import FileVersion, existing_version

MERGES_FILE = Path(__file__).with_name("merges.txt.gz")
VOCABULARY_SIZE = 49408
TOKENIZER_FILES = ("tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")
"""One of the first two must exist: the whole tokenizer, or the vocabulary together with ``merges.txt``."""
CACHED_TOKENIZERS = 8
"""Number of tokenizers that a process caches, for folders and for CLIP's own."""


def open_tokenizer(encoder: TextEncoder) -> Any:
    """Open a ``CLIPTokenizer`` with the encoder's context length and the padding token of the encoder's pipeline.

    Opening a tokenizer takes longer than an edit, so it is cached for the process: do not modify it.

    Raises:
        CheckpointError: the checkpoint has no tokenizer and its vocabulary is not CLIP's, or the tokenizer is unreadable
            or has more tokens than the encoder.
    """
    folder = encoder.tokenizer_folder
    versions = tuple(existing_version(folder / name) for name in TOKENIZER_FILES) if folder else ()
    if folder and any(versions[:2]):
        tokenizer = load_tokenizer(folder, versions, encoder.context_length)
    elif encoder.vocabulary_size == VOCABULARY_SIZE:
        tokenizer = clip_tokenizer(default_pad(encoder), encoder.context_length)
    else:
        raise CheckpointError(
            f"The {encoder.component} has no tokenizer, and its vocabulary of {encoder.vocabulary_size} tokens is not CLIP's.",
            field="model",
            remedy="Add the tokenizer folder to the model.",
        )
    if len(tokenizer) > encoder.vocabulary_size:
        raise CheckpointError(
            f"The tokenizer of the {encoder.component} has {len(tokenizer)} tokens, "
            f"but the encoder has {encoder.vocabulary_size}.",
            field="model",
            remedy="Use the tokenizer that belongs to this model.",
        )
    return tokenizer


@lru_cache(CACHED_TOKENIZERS)
def load_tokenizer(folder: Path, versions: tuple[FileVersion | None, ...], context: int) -> Any:
    """Load the tokenizer of a folder, with its own padding token. ``versions`` invalidate the cache when a file changes."""
    from transformers import CLIPTokenizer

    try:
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers and tokenizers raise many kinds of exceptions
        raise CheckpointError(
            f"The tokenizer in {folder} can't be read: {error}.", field="model", remedy="Download the model again."
        ) from error
    # Some tokenizers state no maximum length, or transformers drops it: use the encoder's context length.
    tokenizer.model_max_length = min(tokenizer.model_max_length, context)
    return tokenizer


@lru_cache(CACHED_TOKENIZERS)
def clip_tokenizer(pad: str, context: int) -> Any:
    """Build CLIP's tokenizer. OpenAI's encoders were trained with EOS as padding, OpenCLIP's with token 0, which is ``!``."""
    from transformers import CLIPTokenizer

    merges = read_merges()
    return CLIPTokenizer(vocab=build_vocabulary(merges), merges=merges, pad_token=pad, model_max_length=context)


def open_prompt_tokenizer(encoder: TextEncoder) -> Any:
    """Open a tokenizer for prompts: the same tokens as those of :func:`open_tokenizer`, by a part of its interface.

    CLIP's own tokenizer is a :class:`PromptTokenizer`, which is open in a tenth of the time; transformers opens any other.

    Raises:
        CheckpointError: see :func:`open_tokenizer`.
    """
    folder, context = encoder.tokenizer_folder, encoder.context_length
    if encoder.vocabulary_size != VOCABULARY_SIZE:
        return open_tokenizer(encoder)
    versions = tuple(existing_version(folder / name) for name in TOKENIZER_FILES) if folder else ()
    if folder is None or not any(versions[:2]):
        return prompt_tokenizer(ClipSettings(default_pad(encoder), context), context)
    settings = clip_settings(folder, versions)
    return prompt_tokenizer(settings, context) if settings else open_tokenizer(encoder)


def open_prompt_tokenizers(checkpoint: Checkpoint) -> list[Any]:
    """Open a tokenizer for prompts for each text encoder; see :func:`open_prompt_tokenizer`.

    A model without CLIP gets CLIP's own, which tells words apart for it: its encoder is given whole texts.
    """
    if not checkpoint.encoders:
        return [prompt_tokenizer(ClipSettings(), ClipSettings().length)]
    return [open_prompt_tokenizer(encoder) for encoder in checkpoint.encoders]


def default_pad(encoder: TextEncoder) -> str:
    """Return the padding token of an encoder: OpenAI's were trained with EOS, OpenCLIP's with token 0, which is ``!``."""
    return EOS if encoder.activation == "quick_gelu" else "!"


@lru_cache(CACHED_TOKENIZERS)
def clip_settings(folder: Path, versions: tuple[FileVersion | None, ...]) -> ClipSettings | None:
    """Return the settings of a folder with CLIP's tokenizer. ``versions`` invalidate the cache when a file changes."""
    merges = read_merges()
    return read_clip_settings(folder, build_vocabulary(merges), merges)


@lru_cache(CACHED_TOKENIZERS)
def prompt_tokenizer(settings: ClipSettings, context: int) -> PromptTokenizer:
    """Build CLIP's tokenizer for prompts."""
    merges = read_merges()
    special = [
        special_token(BOS, normalized=settings.normalized_bos),
        special_token(EOS, normalized=settings.normalized_eos),
        *([special_token(settings.pad)] if settings.pad != EOS else []),
    ]
    return PromptTokenizer(build_vocabulary(merges), merges, special, settings.pad, min(settings.length, context))


def read_merges() -> Merges:
    """Read the byte-pair merges, in order of rank."""
    lines = gzip.decompress(MERGES_FILE.read_bytes()).decode().splitlines()
    return [(left, right) for left, right in (line.split(" ") for line in lines)]


def build_vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """Build the vocabulary: bytes, bytes at the end of a word, merged pairs, BOS and EOS."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    entries = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges), BOS, EOS]
    return {entry: index for index, entry in enumerate(entries)}
