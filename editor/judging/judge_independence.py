"""Check that a judge is independent: an encoder that is edited cannot recognise what the edit erased from it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from editor.checkpoints import TextEncoder, open_checkpoint, weight_files
from editor.checkpoints.tensor_reader import DTYPES, TensorFile
from editor.errors import CheckpointError, JudgeError
from editor.io.digests import file_digest

MIN_MATRIX_DIMS = 2
"""Only matrices are compared, because unrelated models share vectors, such as biases of zeros and gains of ones."""
SAMPLED_ROWS = 4
"""Rows by which two matrices of equal shape are compared first."""
RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE = 2**-7, 1e-6
"""The same weight, rounded to float16 in one file and to bfloat16 in the other, differs by less."""


@dataclass(frozen=True)
class Matrix:
    """A weight matrix on disk."""

    source: TensorFile | TextEncoder
    name: str
    shape: tuple[int, ...]

    def rows(self, ids: Tensor) -> Tensor:
        """Read some rows, in float32."""
        return self.source.read_rows(self.name, ids).float()

    def equals(self, other: "Matrix") -> bool:
        """Whether all values of matrices of equal shape are equal up to rounding."""
        rows = torch.arange(self.shape[0])
        return is_close(self.rows(rows), other.rows(rows))

    @property
    def sample(self) -> Tensor:
        """Some rows, evenly spaced."""
        return self.rows(torch.arange(SAMPLED_ROWS) * self.shape[0] // SAMPLED_ROWS)


def check_independence(judge: Sequence[Path], model_dir: Path) -> None:
    """Refuse a judge that shares a file, or any weight matrix, with the model's text encoders.

    Values are compared up to rounding, so that the same weights in other files, under other names, or in another
    floating-point type are recognised.

    Args:
        judge: the judge's weight files.
        model_dir: a model folder or a single-file checkpoint.

    Raises:
        JudgeError: the judge shares weights with the model.
    """
    if shares_file(judge, [*weight_files(model_dir).values()]) or shares_matrix(judge, model_dir):
        raise JudgeError(
            "The judge is the encoder that is being edited, or shares weights with it.",
            field="EXPUNGE_JUDGE",
            remedy="Choose a judge whose weights are not part of the model.",
        )


def shares_file(judge: Sequence[Path], model: Sequence[Path]) -> bool:
    """Whether a file of the judge has the contents of one of the model. Only files of equal size are read."""
    sizes = {path.stat().st_size for path in judge}
    same_size = [path for path in model if path.stat().st_size in sizes]
    return bool(same_size) and not {*map(file_digest, judge)}.isdisjoint(map(file_digest, same_size))


def shares_matrix(judge: Sequence[Path], model_dir: Path) -> bool:
    """Whether the judge has a matrix of one of the model's text encoders, other than a matrix of zeros."""
    by_shape: dict[tuple[int, ...], list[Matrix]] = {}
    for matrix in encoder_matrices(model_dir):
        by_shape.setdefault(matrix.shape, []).append(matrix)
    samples = {shape: torch.stack([one.sample for one in matrices]) for shape, matrices in by_shape.items()}
    return any(
        matrix.equals(by_shape[matrix.shape][index])
        for matrix in judge_matrices(judge)
        if matrix.shape in by_shape
        for index in close_samples(matrix.sample, samples[matrix.shape])
    )


def close_samples(sample: Tensor, others: Tensor) -> list[int]:
    """Return the indices of the samples ``(n, rows, ...)`` that are close to one of them."""
    if not sample.any():
        return []
    return [index for index, other in enumerate(others) if is_close(sample, other)]


def is_close(first: Tensor, second: Tensor) -> bool:
    """Whether two tensors are equal up to the rounding of floating-point types."""
    return torch.allclose(first, second, rtol=RELATIVE_TOLERANCE, atol=ABSOLUTE_TOLERANCE)


def judge_matrices(files: Sequence[Path]) -> Iterator[Matrix]:
    """Yield the weight matrices of safetensors files."""
    for file in map(open_judge_file, files):
        for name, span in file.layout.spans.items():
            if len(span.shape) >= MIN_MATRIX_DIMS and span.dtype in DTYPES:
                yield Matrix(file, name, span.shape)


def open_judge_file(path: Path) -> TensorFile:
    """Open a weights file of the judge. Raises JudgeError: it is not a safetensors file."""
    try:
        return TensorFile(path)
    except CheckpointError as error:
        raise JudgeError(error.message, field="EXPUNGE_JUDGE", remedy="Download the judge again.") from error


def encoder_matrices(model_dir: Path) -> Iterator[Matrix]:
    """Yield the weight matrices of the model's text encoders."""
    for encoder in open_checkpoint(model_dir).encoders:
        for name, place in encoder.locations.items():
            if len(place.shape) >= MIN_MATRIX_DIMS:
                yield Matrix(encoder, name, place.shape)
