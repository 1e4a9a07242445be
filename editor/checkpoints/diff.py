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

from editor.checkpoints.inspect import OWN_ENTRY
from editor.checkpoints.safe_paths import inside, weight_files
from editor.checkpoints.safetensors_header import Span
from editor.checkpoints.tensor_reader import DTYPES, PIECE, TensorFile
from editor.checkpoints.text_encoder import NEEDED, TextEncoder
from editor.errors import CheckpointError

NUMBERS = DTYPES | {
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
Key = tuple[str, str]
"""File and tensor; the file is empty where single files are compared."""
Status = Literal["changed", "retyped", "reshaped", "added", "removed"]
Progress = Callable[[int, int], None]
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
class Located:
    """A tensor on one side."""

    file: TensorFile
    name: str

    @property
    def span(self) -> Span:
        """Where it lies."""
        return self.file.span(self.name)

    def part(self, start: int, stop: int) -> bytearray:
        """Bytes of it."""
        return self.file.piece(self.span.start + start, stop - start)


@dataclass(frozen=True)
class Side:
    """All tensors of a file, a folder or a delta."""

    tensors: Mapping[Key, Located]
    partial: bool = False
    """A delta: what it lacks is as in its base."""


@dataclass(frozen=True)
class Pair:
    """The same tensor on both sides, or on one."""

    key: Key
    first: Located | None
    second: Located | None

    @property
    def span(self) -> Span:
        """The second side's where there is one."""
        return cast(Located, self.second or self.first).span


def side(path: Path) -> Side:
    """Open one side. Raises CheckpointError: there is no readable safetensors file."""
    files = {name: TensorFile(inside(path, file)) for name, file in weight_files(path).items()} if path.exists() else {}
    if not files:
        raise CheckpointError(f"{path} holds no safetensors file.", field="path", remedy="Name a file or a folder.")
    if path.is_dir():
        return Side({(name, tensor): Located(f, tensor) for name, f in files.items() for tensor in f.layout.spans})
    (file,) = files.values()
    partial = OWN_ENTRY in file.layout.metadata
    return Side({key(name, partial): Located(file, name) for name in file.layout.spans}, partial)


def key(name: str, is_delta: bool) -> Key:
    """A delta calls a tensor ``FILE:TENSOR``."""
    file, _, tensor = name.rpartition(":") if is_delta else ("", "", name)
    return file, tensor


def without_files(one: Side) -> Side:
    """The same side, by tensor names alone."""
    tensors = {("", tensor): located for (_, tensor), located in one.tensors.items()}
    if len(tensors) != len(one.tensors):
        raise CheckpointError(
            "Several files of one side have tensors of the same name.",
            field="path",
            remedy="Compare a folder with a folder, or a file with a file.",
        )
    return Side(tensors, one.partial)


def pairs(first: Side, second: Side) -> list[Pair]:
    """What to compare. File names count only where both sides have them; a delta speaks of its own tensors only."""
    if not all(file for one in (first, second) for file, _ in one.tensors):
        first, second = without_files(first), without_files(second)
    keys = [
        name
        for name in {**first.tensors, **second.tensors}
        if not any(one.partial and name not in one.tensors for one in (first, second))
    ]
    return [Pair(name, first.tensors.get(name), second.tensors.get(name)) for name in keys]


def compare(first: Path, second: Path, progress: Progress = lambda done, total: None) -> Comparison:
    """Compare two files, two folders, or a base model and a delta of it.

    Raises:
        CheckpointError: a side can't be read, or the two are not comparable.
    """
    todo = pairs(side(first), side(second))
    done, total, found = 0, sum(pair.span.size for pair in todo), []
    for pair in todo:
        found.append(difference(pair))
        done += pair.span.size
        progress(done, total)
    different = [each for each in found if each]
    return Comparison(first=str(first), second=str(second), same=len(todo) - len(different), different=different)


def difference(pair: Pair) -> TensorDifference | None:
    """How a tensor differs; None where it does not."""
    one, other = pair.first, pair.second
    if one is None or other is None:
        return record(pair, "added" if one is None else "removed")
    if one.span.shape != other.span.shape:
        return record(pair, "reshaped")
    if one.span.dtype != other.span.dtype:
        return record(pair, "retyped", figures(one, other))
    return None if same_bytes(one, other) else record(pair, "changed", figures(one, other))


def record(pair: Pair, status: Status, found: Mapping[str, float | None] = {}) -> TensorDifference:
    """A difference in words."""
    span = pair.span
    return TensorDifference.model_validate(
        {"file": pair.key[0], "tensor": pair.key[1], "status": status, **found}
        | {"dtype": span.dtype, "shape": span.shape, "bytes": span.size}
    )


def same_bytes(one: Located, other: Located) -> bool:
    """Whether two tensors of one kind are the same; the first piece that differs ends it."""
    if one.span == other.span and one.file.path.samefile(other.file.path):
        return True
    steps = range(0, one.span.size, PIECE)
    return all(
        one.part(i, min(i + PIECE, one.span.size)) == other.part(i, min(i + PIECE, one.span.size)) for i in steps
    )


def figures(one: Located, other: Located) -> dict[str, float | None]:
    """By how much two tensors of one shape differ; nothing for dtypes that hold no whole bytes."""
    if not {one.span.dtype, other.span.dtype} <= NUMBERS.keys():
        return {}
    return gap(numbers(one), numbers(other))


def gap(one: Iterable[Tensor], other: Iterable[Tensor]) -> dict[str, float | None]:
    """The same for numbers that come in pieces."""
    changed, largest, squares, norm = torch.zeros(4, dtype=torch.float64)
    for before, after in zip(one, other, strict=True):
        moved = after - before
        changed += (before != after).sum()
        largest = torch.maximum(largest, moved.abs().max())
        squares += moved.square().sum()
        norm += before.square().sum()
    return {"changed": int(changed), "max_abs": finite(largest), "relative": finite((squares / norm).sqrt())}


def finite(value: Tensor) -> float | None:
    """JSON has no NaN and no infinity."""
    return float(value) if value.isfinite() else None


def numbers(located: Located) -> Iterator[Tensor]:
    """A tensor in float64, a piece at a time."""
    dtype = NUMBERS[located.span.dtype]
    step = PIECE // 8 * dtype.itemsize
    for start in range(0, located.span.size, step):
        yield torch.frombuffer(located.part(start, min(start + step, located.span.size)), dtype=dtype).double()


def compare_encoders(first: TextEncoder, second: TextEncoder, names: Iterable[str] = NEEDED) -> list[TensorDifference]:
    """How two text encoders differ in some of their tensors, whatever layouts these are kept in.

    Raises:
        CheckpointError: one of them lacks such a tensor.
    """
    found = (encoder_difference(first, second, name) for name in names)
    return [each for each in found if each]


def encoder_difference(first: TextEncoder, second: TextEncoder, name: str) -> TensorDifference | None:
    """How one tensor differs, by its canonical name; None where it does not."""
    one, other = first.place(name), second.place(name)
    alike = one.shape == other.shape
    if alike and one.dtype == other.dtype and all(a == b for a, b in zip(one.pieces(), other.pieces(), strict=True)):
        return None
    status: Status = "reshaped" if not alike else "retyped" if one.dtype != other.dtype else "changed"
    numbers = gap(*(parts(place.read()) for place in (one, other))) if alike else {}
    return TensorDifference.model_validate(
        {"file": "", "tensor": name, "status": status, **numbers}
        | {"dtype": other.dtype, "shape": other.shape, "bytes": other.size}
    )


def parts(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor in float64, a piece at a time."""
    flat, step = tensor.flatten(), PIECE // 8
    return (flat[start : start + step].double() for start in range(0, len(flat), step))
