"""Which tensors of two models differ, and by how much: tensor by tensor, a piece at a time.

Bytes are compared first, which is as fast as reading; numbers are looked at only where bytes differ.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from editor.checkpoints.inspect import EXPUNGE_ENTRY
from editor.checkpoints.safe_paths import check_inside, weight_files
from editor.checkpoints.safetensors_header import TensorSpan
from editor.checkpoints.tensor_reader import DTYPES, PIECE_BYTES, TensorFile
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
"""What can be told by how much it differs."""
TensorKey = tuple[str, str]
"""File and tensor; the file is empty where single files are compared."""
Status = Literal["changed", "retyped", "reshaped", "added", "removed"]
ByteProgress = Callable[[int, int], None]
"""Told the bytes that were compared, and those of all."""


class TensorDifference(BaseModel):
    """A tensor that is not the same on both sides."""

    model_config = ConfigDict(frozen=True)

    file: str = Field(description="Path inside the model; empty where single files are compared.")
    tensor: str
    status: Status
    dtype: str
    shape: list[int]
    bytes: int = Field(description="Size of the tensor.")
    changed: int | None = Field(None, description="Elements that differ.")
    max_abs: float | None = Field(None, description="Largest absolute difference.")
    relative: float | None = Field(None, description="Frobenius norm of the difference over that of the first side.")


class Comparison(BaseModel):
    """What ``expunge diff --json`` prints."""

    model_config = ConfigDict(frozen=True)

    first: str
    second: str
    same: int = Field(description="Tensors that are the same, byte for byte.")
    different: list[TensorDifference]


@dataclass(frozen=True)
class TensorInFile:
    """A tensor on one side."""

    file: TensorFile
    name: str

    @property
    def span(self) -> TensorSpan:
        """Where it lies."""
        return self.file.span(self.name)

    def part(self, start: int, stop: int) -> bytearray:
        """Bytes of it."""
        return self.file.piece(self.span.start + start, stop - start)


@dataclass(frozen=True)
class TensorSet:
    """All tensors of a file, a folder or a delta."""

    tensors: Mapping[TensorKey, TensorInFile]
    partial: bool = False
    """A delta: what it lacks is as in its base."""


@dataclass(frozen=True)
class TensorPair:
    """The same tensor on both sides, or on one."""

    key: TensorKey
    first: TensorInFile | None
    second: TensorInFile | None

    @property
    def span(self) -> TensorSpan:
        """The second side's where there is one."""
        return cast(TensorInFile, self.second or self.first).span


def open_tensor_set(path: Path) -> TensorSet:
    """Open one side. Raises CheckpointError: there is no readable safetensors file."""
    files = (
        {name: TensorFile(check_inside(path, file)) for name, file in weight_files(path).items()}
        if path.exists()
        else {}
    )
    if not files:
        raise CheckpointError(f"{path} holds no safetensors file.", field="path", remedy="Name a file or a folder.")
    if path.is_dir():
        return TensorSet(
            {(name, tensor): TensorInFile(f, tensor) for name, f in files.items() for tensor in f.layout.spans}
        )
    (file,) = files.values()
    partial = EXPUNGE_ENTRY in file.layout.metadata
    return TensorSet({tensor_key(name, partial): TensorInFile(file, name) for name in file.layout.spans}, partial)


def tensor_key(name: str, is_delta: bool) -> TensorKey:
    """A delta calls a tensor ``FILE:TENSOR``."""
    file, _, tensor = name.rpartition(":") if is_delta else ("", "", name)
    return file, tensor


def drop_file_names(one: TensorSet) -> TensorSet:
    """The same side, by tensor names alone."""
    tensors = {("", tensor): located for (_, tensor), located in one.tensors.items()}
    if len(tensors) != len(one.tensors):
        raise CheckpointError(
            "Several files of one side have tensors of the same name.",
            field="path",
            remedy="Compare a folder with a folder, or a file with a file.",
        )
    return TensorSet(tensors, one.partial)


def match_tensors(first: TensorSet, second: TensorSet) -> list[TensorPair]:
    """What to compare. File names count only where both sides have them; a delta speaks of its own tensors only."""
    if not all(file for one in (first, second) for file, _ in one.tensors):
        first, second = drop_file_names(first), drop_file_names(second)
    keys = [
        name
        for name in {**first.tensors, **second.tensors}
        if not any(one.partial and name not in one.tensors for one in (first, second))
    ]
    return [TensorPair(name, first.tensors.get(name), second.tensors.get(name)) for name in keys]


def compare(first: Path, second: Path, progress: ByteProgress = lambda done, total: None) -> Comparison:
    """Compare two files, two folders, or a base model and a delta of it.

    Raises:
        CheckpointError: a side can't be read, or the two are not comparable.
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
    """How a tensor differs; None where it does not."""
    one, other = pair.first, pair.second
    if one is None or other is None:
        return difference_record(pair, "added" if one is None else "removed")
    if one.span.shape != other.span.shape:
        return difference_record(pair, "reshaped")
    if one.span.dtype != other.span.dtype:
        return difference_record(pair, "retyped", measure_difference(one, other))
    return None if same_bytes(one, other) else difference_record(pair, "changed", measure_difference(one, other))


def difference_record(pair: TensorPair, status: Status, found: Mapping[str, float | None] = {}) -> TensorDifference:
    """A difference in words."""
    span = pair.span
    return TensorDifference.model_validate(
        {"file": pair.key[0], "tensor": pair.key[1], "status": status, **found}
        | {"dtype": span.dtype, "shape": span.shape, "bytes": span.size}
    )


def same_bytes(one: TensorInFile, other: TensorInFile) -> bool:
    """Whether two tensors of one kind are the same; the first piece that differs ends it."""
    if one.span == other.span and one.file.path.samefile(other.file.path):
        return True
    steps = range(0, one.span.size, PIECE_BYTES)
    return all(
        one.part(i, min(i + PIECE_BYTES, one.span.size)) == other.part(i, min(i + PIECE_BYTES, one.span.size))
        for i in steps
    )


def measure_difference(one: TensorInFile, other: TensorInFile) -> dict[str, float | None]:
    """By how much two tensors of one shape differ; nothing for dtypes that hold no whole bytes."""
    if not {one.span.dtype, other.span.dtype} <= COMPARABLE_DTYPES.keys():
        return {}
    return accumulate_difference(read_numbers(one), read_numbers(other))


def accumulate_difference(one: Iterable[Tensor], other: Iterable[Tensor]) -> dict[str, float | None]:
    """The same for numbers that come in pieces."""
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
    """JSON has no NaN and no infinity."""
    return float(value) if value.isfinite() else None


def read_numbers(located: TensorInFile) -> Iterator[Tensor]:
    """A tensor in float64, a piece at a time."""
    dtype = COMPARABLE_DTYPES[located.span.dtype]
    step = PIECE_BYTES // 8 * dtype.itemsize
    for start in range(0, located.span.size, step):
        yield torch.frombuffer(located.part(start, min(start + step, located.span.size)), dtype=dtype).double()


def compare_encoders(
    first: TextEncoder, second: TextEncoder, names: Iterable[str] = EDIT_INPUTS
) -> list[TensorDifference]:
    """How two text encoders differ in some of their tensors, whatever layouts these are kept in.

    Raises:
        CheckpointError: one of them lacks such a tensor.
    """
    found = (compare_encoder_tensor(first, second, name) for name in names)
    return [each for each in found if each]


def compare_encoder_tensor(first: TextEncoder, second: TextEncoder, name: str) -> TensorDifference | None:
    """How one tensor differs, by its canonical name; None where it does not."""
    one, other = first.place(name), second.place(name)
    alike = one.shape == other.shape
    if alike and one.dtype == other.dtype and all(a == b for a, b in zip(one.pieces(), other.pieces(), strict=True)):
        return None
    status: Status = "reshaped" if not alike else "retyped" if one.dtype != other.dtype else "changed"
    read_numbers = accumulate_difference(*(split_numbers(place.read()) for place in (one, other))) if alike else {}
    return TensorDifference.model_validate(
        {"file": "", "tensor": name, "status": status, **read_numbers}
        | {"dtype": other.dtype, "shape": other.shape, "bytes": other.size}
    )


def split_numbers(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor in float64, a piece at a time."""
    flat, step = tensor.flatten(), PIECE_BYTES // 8
    return (flat[start : start + step].double() for start in range(0, len(flat), step))
