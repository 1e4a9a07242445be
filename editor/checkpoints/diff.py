"""Find the tensors in which two models differ, and measure by how much.

Tensors are read in chunks. Bytes are compared first, which is as fast as reading; numbers are computed only for tensors
whose bytes differ.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from editor.checkpoints.inspect import DELTA_METADATA_KEY
from editor.checkpoints.safe_paths import check_inside, weight_files
from editor.checkpoints.safetensors_header import TensorSpan
from editor.checkpoints.tensor_reader import CHUNK_BYTES, DTYPES, TensorFile
from editor.checkpoints.text_encoder import EDIT_INPUTS, TextEncoder
from editor.errors import CheckpointError

COMPARABLE_DTYPES = DTYPES | {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""Dtypes of the tensors whose difference can be measured, not only detected."""
TensorKey = tuple[str, str]
"""File name and tensor name. The file name is empty if single files are compared."""
DifferenceStatus = Literal["changed", "retyped", "reshaped", "added", "removed"]
ByteProgress = Callable[[int, int], None]
"""Called with the number of compared bytes and the total."""


class TensorDifference(BaseModel):
    """A tensor that differs between the two models."""

    model_config = ConfigDict(frozen=True)

    file: str = Field(description="Path inside the model; empty if single files are compared.")
    tensor: str
    status: DifferenceStatus
    dtype: str
    shape: list[int]
    bytes: int = Field(description="Size of the tensor in bytes.")
    changed: int | None = Field(None, description="Number of elements that differ.")
    max_abs: float | None = Field(None, description="Largest absolute difference.")
    relative: float | None = Field(
        None, description="Frobenius norm of the difference, divided by that of the first tensor."
    )


class Comparison(BaseModel):
    """The output of ``expunge diff --json``."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    same: int = Field(description="Number of tensors that are equal byte for byte.")
    different: list[TensorDifference]


@dataclass(frozen=True)
class TensorInFile:
    """A tensor in a safetensors file."""

    file: TensorFile
    name: str

    @property
    def span(self) -> TensorSpan:
        """The byte range, dtype and shape of the tensor."""
        return self.file.span(self.name)

    def read_bytes(self, start: int, stop: int) -> bytearray:
        """Read bytes ``start`` to ``stop`` of the tensor."""
        return self.file.read_bytes(self.span.start + start, stop - start)


@dataclass(frozen=True)
class TensorSet:
    """All tensors of a file, a folder or a delta."""

    tensors: Mapping[TensorKey, TensorInFile]
    partial: bool = False
    """Whether this is a delta. A tensor that a delta lacks is equal to the one in its base."""


@dataclass(frozen=True)
class TensorPair:
    """A tensor of both models, or of one of them."""

    key: TensorKey
    first: TensorInFile | None
    second: TensorInFile | None

    @property
    def span(self) -> TensorSpan:
        """The span in the second model, or in the first if only that one has the tensor."""
        return cast(TensorInFile, self.second or self.first).span


def open_tensor_set(path: Path) -> TensorSet:
    """Open a file, a folder or a delta. Raises CheckpointError if it has no readable safetensors file."""
    files = (
        {name: TensorFile(check_inside(path, file)) for name, file in weight_files(path).items()}
        if path.exists()
        else {}
    )
    if not files:
        raise CheckpointError(
            f"{path} contains no safetensors file.",
            field="path",
            remedy="Pass a safetensors file, or a folder that contains one.",
        )
    if path.is_dir():
        return TensorSet(
            {(name, tensor): TensorInFile(f, tensor) for name, f in files.items() for tensor in f.layout.spans}
        )
    (file,) = files.values()
    partial = DELTA_METADATA_KEY in file.layout.metadata
    return TensorSet({tensor_key(name, partial): TensorInFile(file, name) for name in file.layout.spans}, partial)


def tensor_key(name: str, is_delta: bool) -> TensorKey:
    """Split the name of a tensor. A delta names its tensors ``FILE:TENSOR``."""
    file, _, tensor = name.rpartition(":") if is_delta else ("", "", name)
    return file, tensor


def drop_file_names(one: TensorSet) -> TensorSet:
    """Return the same tensors, keyed by tensor name alone. Raises CheckpointError if two files use the same name."""
    tensors = {("", tensor): located for (_, tensor), located in one.tensors.items()}
    if len(tensors) != len(one.tensors):
        raise CheckpointError(
            "Several files of one model contain tensors with the same name.",
            field="path",
            remedy="Compare a folder with a folder, or a file with a file.",
        )
    return TensorSet(tensors, one.partial)


def match_tensors(first: TensorSet, second: TensorSet) -> list[TensorPair]:
    """Pair the tensors of both models. File names are ignored if one has none; a delta limits the pairs to its tensors."""
    if not all(file for one in (first, second) for file, _ in one.tensors):
        first, second = drop_file_names(first), drop_file_names(second)
    keys = [
        name
        for name in {**first.tensors, **second.tensors}
        if not any(one.partial and name not in one.tensors for one in (first, second))
    ]
    return [TensorPair(name, first.tensors.get(name), second.tensors.get(name)) for name in keys]


def compare_weights(first: Path, second: Path, progress: ByteProgress = lambda done, total: None) -> Comparison:
    """Compare two files, two folders, or a base model and a delta of it.

    Raises:
        CheckpointError: a model can't be read, or the two can't be compared.
    """
    todo = match_tensors(open_tensor_set(first), open_tensor_set(second))
    done, total, found = 0, sum(pair.span.size for pair in todo), []
    for pair in todo:
        found.append(compare_pair(pair))
        done += pair.span.size
        progress(done, total)
    different = [each for each in found if each]
    return Comparison(first=str(first), second=str(second), same=len(todo) - len(different), different=different)


def compare_pair(pair: TensorPair) -> TensorDifference | None:
    """Return how a tensor differs; None if it does not."""
    one, other = pair.first, pair.second
    if one is None or other is None:
        return difference_record(pair, "added" if one is None else "removed")
    if one.span.shape != other.span.shape:
        return difference_record(pair, "reshaped")
    if one.span.dtype != other.span.dtype:
        return difference_record(pair, "retyped", measure_difference(one, other))
    return None if same_bytes(one, other) else difference_record(pair, "changed", measure_difference(one, other))


def difference_record(
    pair: TensorPair, status: DifferenceStatus, found: Mapping[str, float | None] = {}
) -> TensorDifference:
    """Return the record of a difference. ``found`` are its measures."""
    span = pair.span
    return TensorDifference.model_validate(
        {"file": pair.key[0], "tensor": pair.key[1], "status": status, **found}
        | {"dtype": span.dtype, "shape": span.shape, "bytes": span.size}
    )


def same_bytes(one: TensorInFile, other: TensorInFile) -> bool:
    """Return whether two tensors of the same dtype and shape are equal. Stops at the first chunk that differs."""
    if one.span == other.span and one.file.path.samefile(other.file.path):
        return True
    steps = range(0, one.span.size, CHUNK_BYTES)
    return all(
        one.read_bytes(i, min(i + CHUNK_BYTES, one.span.size))
        == other.read_bytes(i, min(i + CHUNK_BYTES, one.span.size))
        for i in steps
    )


def measure_difference(one: TensorInFile, other: TensorInFile) -> dict[str, float | None]:
    """Measure the difference of two tensors of the same shape. Empty for dtypes that torch can't convert."""
    if not {one.span.dtype, other.span.dtype} <= COMPARABLE_DTYPES.keys():
        return {}
    return accumulate_difference(read_numbers(one), read_numbers(other))


def accumulate_difference(one: Iterable[Tensor], other: Iterable[Tensor]) -> dict[str, float | None]:
    """Measure the difference of two tensors that are read in chunks."""
    changed, largest, squares, norm = torch.zeros(4, dtype=torch.float64)
    for before, after in zip(one, other, strict=True):
        moved = after - before
        changed += (before != after).sum()
        largest = torch.maximum(largest, moved.abs().max())
        squares += moved.square().sum()
        norm += before.square().sum()
    return {
        "changed": int(changed),
        "max_abs": finite_or_none(largest),
        "relative": finite_or_none((squares / norm).sqrt()),
    }


def finite_or_none(value: Tensor) -> float | None:
    """Return a number, or None for NaN and infinity, which JSON does not have."""
    return float(value) if value.isfinite() else None


def read_numbers(located: TensorInFile) -> Iterator[Tensor]:
    """Read a tensor in chunks, converted to float64."""
    dtype = COMPARABLE_DTYPES[located.span.dtype]
    step = CHUNK_BYTES // 8 * dtype.itemsize
    for start in range(0, located.span.size, step):
        yield torch.frombuffer(located.read_bytes(start, min(start + step, located.span.size)), dtype=dtype).double()


def compare_encoders(
    first: TextEncoder, second: TextEncoder, names: Iterable[str] = EDIT_INPUTS
) -> list[TensorDifference]:
    """Compare some tensors of two text encoders, which may be stored in different layouts.

    Raises:
        CheckpointError: one of the encoders lacks such a tensor.
    """
    found = (compare_encoder_tensor(first, second, name) for name in names)
    return [each for each in found if each]


def compare_encoder_tensor(first: TextEncoder, second: TextEncoder, name: str) -> TensorDifference | None:
    """Return how the tensor with this canonical name differs; None if it does not."""
    one, other = first.locate(name), second.locate(name)
    same_shape = one.shape == other.shape
    if (
        same_shape
        and one.dtype == other.dtype
        and all(a == b for a, b in zip(one.read_chunks(), other.read_chunks(), strict=True))
    ):
        return None
    status: DifferenceStatus = "reshaped" if not same_shape else "retyped" if one.dtype != other.dtype else "changed"
    measures = (
        accumulate_difference(*(split_numbers(location.read()) for location in (one, other))) if same_shape else {}
    )
    return TensorDifference.model_validate(
        {"file": "", "tensor": name, "status": status, **measures}
        | {"dtype": other.dtype, "shape": other.shape, "bytes": other.size}
    )


def split_numbers(tensor: Tensor) -> Iterator[Tensor]:
    """Split a tensor into flat chunks, converted to float64."""
    flat, step = tensor.flatten(), CHUNK_BYTES // 8
    return (flat[start : start + step].double() for start in range(0, len(flat), step))
