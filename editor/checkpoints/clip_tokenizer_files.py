"""Recognise a tokenizer folder that has CLIP's own vocabulary and only settings that are understood."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from editor.checkpoints.prompt_tokenizer import BOS, EOS, Merges

PADS = (EOS, "!")
IGNORED_SETTINGS = {
    "add_prefix_space", "bos_token", "clean_up_tokenization_spaces", "do_lower_case", "eos_token", "errors",
    "model_max_length", "name_or_path", "pad_token", "special_tokens_map_file", "tokenizer_class", "unk_token",
    "added_tokens_decoder",
}  # fmt: skip
"""Settings that are read below, or that do not change how CLIP's tokenizer splits a text."""
UNKNOWN_FILES = ("tokenizer.json", "added_tokens.json", "special_tokens.json")


@dataclass(frozen=True)
class ClipSettings:
    """The settings in which the tokenizers of CLIP pipelines differ."""

    pad: str = EOS
    length: int = 77
    """Maximum number of tokens, as the files state it."""
    normalized_bos: bool = False
    normalized_eos: bool = False
    """Whether the token is also matched where it is written in upper case."""


def read_clip_settings(folder: Path, vocabulary: dict[str, int], merges: Merges) -> ClipSettings | None:
    """Return the settings of a tokenizer folder; None if it is not CLIP's tokenizer or may have other settings."""
    try:
        return _read_settings(folder, vocabulary, merges)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # a damaged folder is reported by the library that reads all folders


def _read_settings(folder: Path, vocabulary: dict[str, int], merges: Merges) -> ClipSettings | None:
    if any((folder / name).exists() for name in UNKNOWN_FILES):
        return None
    tokens = json.loads((folder / "special_tokens_map.json").read_bytes())
    settings = json.loads((folder / "tokenizer_config.json").read_bytes())
    decoder = settings.get("added_tokens_decoder", {})
    pad, length = settings.get("pad_token", tokens.get("pad_token")), settings.get("model_max_length")
    known = (
        settings.keys() <= IGNORED_SETTINGS
        and tokens.keys() <= {"bos_token", "eos_token", "unk_token", "pad_token"}
        and settings.get("do_lower_case", True) is True
        and settings.get("tokenizer_class") == "CLIPTokenizer"
        and [_text(tokens[name]) for name in ("bos_token", "eos_token", "unk_token")] == [BOS, EOS, EOS]
        and [_text(settings.get(f"{name}_token", tokens[f"{name}_token"])) for name in ("bos", "eos", "unk")]
        == [BOS, EOS, EOS]
        and pad in PADS
        and tokens.get("pad_token", pad) == pad
        and isinstance(length, int)
        and all(entry["content"] in (BOS, EOS) for entry in decoder.values())
        and _has_vocabulary(folder, vocabulary, merges)
    )
    if not known:
        return None
    flags = {entry["content"]: bool(entry["normalized"]) for entry in decoder.values()}
    bos, eos = _is_normalized(tokens["bos_token"]), pad != EOS and _is_normalized(tokens["eos_token"])
    return ClipSettings(str(pad), int(length), flags.get(BOS, bos), flags.get(EOS, eos))


def _text(token: Any) -> str:
    """Return the text of a special token, which files store as text or with its settings."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _is_normalized(token: Any) -> bool:
    return isinstance(token, dict) and bool(token.get("normalized"))


def _has_vocabulary(folder: Path, vocabulary: dict[str, int], merges: Merges) -> bool:
    """Whether the folder has the given vocabulary and merges."""
    lines = (folder / "merges.txt").read_text(encoding="utf-8").strip().splitlines()
    lines = lines[1:] if lines[0].startswith("#version") else lines
    return (
        lines[: len(merges)] == [f"{left} {right}" for left, right in merges]
        and len(lines) == len(merges)
        and (json.loads((folder / "vocab.json").read_bytes()) == vocabulary)
    )
