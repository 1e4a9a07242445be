"""Which files belong to a base model: those that the Hub routes serve and that a signed statement covers."""

from pathlib import PurePath

MODEL_FILE_SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".md"})
"""Weights, configurations, tokenizers and model cards. Code and pickles are left out: they are never served or read."""


def is_hidden(name: PurePath) -> bool:
    """Return whether a path inside a model has a hidden part. No loader reads such files; clients cache metadata in them."""
    return any(part.startswith(".") for part in name.parts)


def is_model_file(name: PurePath) -> bool:
    """Return whether a path inside a model's folder is a file of the model."""
    return name.suffix in MODEL_FILE_SUFFIXES and not is_hidden(name)


VARIANT_SETTING = "EXPUNGE_VARIANT"
"""The environment variable for the variant of a model's weights, such as ``fp16``."""
