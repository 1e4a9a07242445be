"""A strict parser for the header of a safetensors file. It reads nothing but the header.

A file is 8 bytes of header length (little endian), a JSON object that gives each tensor's dtype, shape and byte range, and
the bytes, without gaps (https://github.com/huggingface/safetensors#format). The header is checked against the
file before anything else is read, so that later reads stay within the file.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from editor.errors import CheckpointError

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000
"""Bytes; the limit of the format itself."""
MAX_ELEMENTS, MAX_AXES = 1 << 62, 64
DTYPE_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
"""Bits of one element of each dtype of the format."""
PICKLE_MAGIC = {
    b"PK\x03\x04": "a zip archive, as torch.save writes it",
    **{bytes([0x80, protocol]): "a pickle" for protocol in range(2, 6)},
}
"""First bytes of file formats that can run code when they are loaded."""
PICKLE_SUFFIXES = frozenset({".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"})


class TensorSpan(NamedTuple):
    """The byte range of a tensor in a file, ``start`` to ``end`` (exclusive), with its dtype and shape."""

    start: int
    end: int
    dtype: str
    shape: tuple[int, ...]

    @property
    def kind(self) -> tuple[str, tuple[int, ...]]:
        """Dtype and shape; a tensor can replace another one if these are equal."""
        return self.dtype, self.shape

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.end - self.start


@dataclass(frozen=True)
class FileLayout:
    """The header of a safetensors file. ``spans`` are in file order."""

    metadata: dict[str, str]
    spans: dict[str, TensorSpan]


class HeaderError(ValueError):
    """A malformed header; the message says what is wrong."""


def read_layout(path: Path) -> FileLayout:
    """Read and check the header of a file.

    Raises:
        CheckpointError: the file can't be read, is a pickle, or its header contradicts itself or the file.
    """
    with open_for_reading(path) as file:
        return read_open_layout(file)


def open_for_reading(path: Path) -> BinaryIO:
    """Open a file for reading. Raises CheckpointError if that fails."""
    try:
        return path.open("rb")
    except OSError as error:
        raise CheckpointError(
            f"{path} can't be read: {error.strerror}.",
            field="model",
            remedy="Check that the file exists and that you may read it.",
        ) from error


def read_open_layout(file: BinaryIO) -> FileLayout:
    """Read and check the header of an open file, as :func:`read_layout`."""
    path = Path(file.name)
    try:
        return parse_header(file, os.fstat(file.fileno()).st_size)
    except (OSError, HeaderError) as error:
        raise CheckpointError(
            f"{path} is not a readable safetensors file: {error}.", field="model", remedy=unreadable_remedy(path)
        ) from error


def unreadable_remedy(path: Path) -> str:
    """Return the remedy for a file that is not safetensors."""
    if path.suffix in PICKLE_SUFFIXES:
        return "Pickle files are never read: save the model as safetensors."
    return "Download the file again."


def parse_header(file: BinaryIO, size: int) -> FileLayout:
    """Parse the header of an open file of ``size`` bytes."""
    length = header_length(file.read(LENGTH_BYTES + 1), size)
    file.seek(LENGTH_BYTES)
    header = json_object(file.read(length))
    metadata = check_metadata(header.pop("__metadata__", {}))
    origin = LENGTH_BYTES + length
    spans = {name: parse_span(name, entry, origin) for name, entry in header.items()}
    ordered = dict(sorted(spans.items(), key=itemgetter(1)))
    check_coverage(ordered.values(), origin, size)
    return FileLayout(metadata, ordered)


def header_length(start: bytes, size: int) -> int:
    """Return the length of the header in bytes, from the first nine bytes of a file of ``size`` bytes."""
    length, brace = int.from_bytes(start[:LENGTH_BYTES], "little"), start[LENGTH_BYTES:]
    kinds = [what for magic, what in PICKLE_MAGIC.items() if start.startswith(magic)]
    if kinds and brace != b"{":
        raise HeaderError(f"it is {kinds[0]}; pickle files are never read")
    if brace != b"{":
        raise HeaderError("it has no JSON header")
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - LENGTH_BYTES):
        raise HeaderError(f"it declares a header of {length} bytes")
    return length


def json_object(text: bytes) -> dict[str, Any]:
    """Parse the header. Duplicate names are rejected, because readers disagree on which one counts.

    Each name is followed by a colon, so a header with as many colons as parsed names has no duplicates. Only a header with
    more colons, some of which may be inside names, is parsed again with a slower check for duplicates.
    """
    try:
        decoded = text.decode("utf-8")
        value = json.loads(decoded)
        if isinstance(value, dict) and decoded.count(":") != count_names(value):
            json.loads(decoded, object_pairs_hook=reject_duplicates)
        if "\\u" in decoded:  # an unpaired surrogate is not valid text: other readers reject it
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise (
            error if isinstance(error, HeaderError) else HeaderError(f"the header is not valid JSON ({error})")
        ) from error
    if not isinstance(value, dict):
        raise HeaderError("the header is not a JSON object")
    return value


def count_names(value: dict[str, Any]) -> int:
    """Count the names in an object and in the objects that it contains."""
    return len(value) + sum(len(entry) for entry in value.values() if isinstance(entry, dict))


def reject_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build a JSON object. Raises HeaderError if a name occurs twice."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise HeaderError("the header contains a duplicate name")
    return value


def check_metadata(value: object) -> dict[str, str]:
    """Check that the metadata maps strings to strings, and return it. ``null`` counts as none, as in safetensors."""
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise HeaderError("its metadata does not map strings to strings")
    return value


def parse_span(name: str, entry: object, origin: int) -> TensorSpan:
    """Parse the entry of one tensor. Its offsets are relative to ``origin``."""
    try:
        dtype, shape, (start, end) = entry["dtype"], entry["shape"], entry["data_offsets"]  # type: ignore[index]
        bits = DTYPE_BITS[dtype] * count_elements(shape) if len(entry) == 3 else None  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise HeaderError(f"the entry of {name!r} is malformed") from error
    if type(start) is not int or type(end) is not int or start < 0 or (end - start) * 8 != bits:
        raise HeaderError(f"the byte range of {name!r} does not fit {dtype} {shape}")
    return TensorSpan(origin + start, origin + end, dtype, tuple(shape))


def count_elements(shape: object) -> int:
    """Return the number of elements of a shape. Raises ValueError if the shape is malformed."""
    if type(shape) is not list or len(shape) > MAX_AXES:
        raise ValueError
    count = 1
    for size in shape:
        if type(size) is not int or not 0 <= size <= MAX_ELEMENTS:
            raise ValueError
        count *= size
    return count


def check_coverage(spans: Iterable[TensorSpan], origin: int, size: int) -> None:
    """Check that the tensors cover the file from the end of the header, without overlaps or gaps."""
    end = origin
    for span in spans:
        if span.start != end:
            raise HeaderError("its tensors overlap" if span.start < end else "its tensors leave a gap")
        end = span.end
    if end != size:
        raise HeaderError(f"its tensors end at byte {end}, but the file has {size} bytes")
