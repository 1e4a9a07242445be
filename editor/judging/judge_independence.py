"""Whether a judge is independent: a model that judged its own edit would be blind where the edit made it blind."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import torch

from editor.checkpoints import file_digest, open_checkpoint, weight_files
from editor.checkpoints.safetensors_header import read_layout
from editor.checkpoints.tensor_reader import TensorFile, as_bytes
from editor.errors import JudgeError

FLOAT_DTYPES = ("F16", "BF16", "F32", "F64")
MIN_MATRIX_DIMS = 2
"""Dimensions. Vectors don't count: biases of zeros and gains of ones are everybody's."""


def check_independence(judge: Path, model_dir: Path) -> None:
    """Refuse a judge that shares its file, or any matrix, with the model's text encoders.

    Values are compared in half precision: the same weights in another file, under other names or in another floating-point
    type are the same weights.

    Raises:
        JudgeError: it does.
    """
    same_file = file_digest(judge) in {file_digest(path) for path in weight_files(model_dir).values()}
    if same_file or set(matrix_digests(judge)) & set(encoder_matrix_digests(model_dir)):
        raise JudgeError(
            "The judge is the encoder that is being edited, or shares weights with it.",
            remedy="Judge with a CLIP that is not part of the model.",
        )


def matrix_digests(path: Path) -> Iterator[str]:
    """A digest for each matrix of a file."""
    file = TensorFile(path)
    for name, span in read_layout(path).spans.items():
        if len(span.shape) >= MIN_MATRIX_DIMS and span.dtype in FLOAT_DTYPES:
            yield half_precision_digest(file.read(name))


def encoder_matrix_digests(model_dir: Path) -> Iterator[str]:
    """A digest for each matrix of the text encoders that can be read."""
    for encoder in open_checkpoint(model_dir).encoders:
        for name, place in encoder.places.items():
            if len(place.shape) >= MIN_MATRIX_DIMS:
                yield half_precision_digest(encoder.tensor(name))


def half_precision_digest(tensor: torch.Tensor) -> str:
    """Of the values, rounded to half precision."""
    return hashlib.sha256(as_bytes(tensor.to(torch.float16).contiguous())).hexdigest()
