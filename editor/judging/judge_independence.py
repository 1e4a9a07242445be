"""Check that a judge is independent: an encoder that is edited cannot recognise what the edit erased from it."""

from collections.abc import Iterator
from pathlib import Path

import torch

from editor.checkpoints import open_checkpoint, weight_files
from editor.checkpoints.safetensors_header import read_layout
from editor.checkpoints.tensor_reader import TensorFile
from editor.errors import JudgeError
from editor.io.digests import file_digest, tensor_digest

FLOAT_DTYPES = ("F16", "BF16", "F32", "F64")
MIN_MATRIX_DIMS = 2
"""Only matrices are compared, because unrelated models share vectors, such as biases of zeros and gains of ones."""


def check_independence(judge: Path, model_dir: Path) -> None:
    """Refuse a judge that shares its file, or any weight matrix, with the model's text encoders.

    Values are compared in half precision, so that the same weights in another file, under other names or in another
    floating-point type are recognised.

    Raises:
        JudgeError: the judge shares weights with the model.
    """
    same_file = file_digest(judge) in {file_digest(path) for path in weight_files(model_dir).values()}
    if same_file or set(matrix_digests(judge)) & set(encoder_matrix_digests(model_dir)):
        raise JudgeError(
            "The judge is the encoder that is being edited, or shares weights with it.",
            remedy="Choose a judge whose weights are not part of the model.",
        )


def matrix_digests(path: Path) -> Iterator[str]:
    """Yield a digest of each weight matrix of a safetensors file."""
    file = TensorFile(path)
    for name, span in read_layout(path).spans.items():
        if len(span.shape) >= MIN_MATRIX_DIMS and span.dtype in FLOAT_DTYPES:
            yield tensor_digest(file.read(name).to(torch.float16))


def encoder_matrix_digests(model_dir: Path) -> Iterator[str]:
    """Yield a digest of each weight matrix of the text encoders that can be read."""
    for encoder in open_checkpoint(model_dir).encoders:
        for name, place in encoder.locations.items():
            if len(place.shape) >= MIN_MATRIX_DIMS:
                yield tensor_digest(encoder.tensor(name).to(torch.float16))
