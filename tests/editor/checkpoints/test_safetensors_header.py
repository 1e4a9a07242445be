"""Headers of real files are read as safetensors reads them; damaged ones are rejected before a tensor is read."""

import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from editor.checkpoints.safetensors_header import DTYPE_BITS, read_layout
from editor.checkpoints.tensor_reader import DTYPES, TensorFile
from editor.errors import CheckpointError

TENSORS = {
    "b": torch.arange(12, dtype=torch.float32).reshape(3, 4),
    "a": torch.arange(6, dtype=torch.float16).reshape(6, 1),
    "empty": torch.zeros(0, 5),
    "scalar": torch.tensor(2.5, dtype=torch.bfloat16),
    "ids": torch.arange(3),
}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("header") / "model.safetensors"
    save_file(TENSORS, path, metadata={"format": "pt"})
    return path


def write_header(path: Path, header: object, body: bytes = bytes(16)) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def entry(start: int = 0, end: int = 16, shape: Any = (4,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def test_layout_matches_safetensors(file: Path) -> None:
    layout = read_layout(file)
    assert layout.metadata == {"format": "pt"}
    with safe_open(file, "pt") as reader:
        assert set(reader.keys()) == set(layout.spans)
        for name, span in layout.spans.items():
            part = reader.get_slice(name)
            assert (part.get_dtype(), tuple(part.get_shape())) == span.kind
    assert sum(span.size for span in layout.spans.values()) == sum(t.nbytes for t in TENSORS.values())


def test_tensors_match_safetensors(file: Path) -> None:
    tensors = TensorFile(file)
    for name in ("b", "a", "empty", "scalar"):
        assert torch.equal(tensors.read(name), TENSORS[name])
        assert b"".join(tensors.read_chunks(name)) == TENSORS[name].reshape(-1).view(torch.uint8).numpy().tobytes()
    assert torch.equal(tensors.read("b", 1, 3), TENSORS["b"][1:])
    assert torch.equal(tensors.read_rows("b", torch.tensor([1, 0, 1]), 1), TENSORS["b"][[2, 1, 2]])
    assert tensors.read_rows("b", torch.tensor([], dtype=torch.long)).shape == (0, 4)
    for name in TENSORS:
        tensors.prefetch_rows(name)  # changes nothing
    for ids in ([3], [-1], [0, 2]):
        with pytest.raises(CheckpointError, match="rows"):
            tensors.read_rows("b", torch.tensor(ids), 1)
    with pytest.raises(CheckpointError, match="I64"):
        tensors.read("ids")
    with pytest.raises(CheckpointError, match="no tensor"):
        tensors.read("c")


def test_tensor_names_may_contain_any_character(tmp_path: Path) -> None:
    names = ["a:b", '"', "\\u0078", "ü", "", "dtype", "__metadata"]
    tensors = {name: torch.full((1,), float(i)) for i, name in enumerate(names)}
    save_file(tensors, tmp_path / "x.safetensors", metadata={"k:": "v:"})
    file = TensorFile(tmp_path / "x.safetensors")
    assert {name: float(file.read(name)) for name in file.layout.spans} == {n: float(i) for i, n in enumerate(names)}


def test_dtype_sizes_match_torch() -> None:
    sizes = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
    assert {name: dtype.itemsize for name, dtype in DTYPES.items()} == sizes
    assert all(DTYPE_BITS[name] == 8 * size for name, size in sizes.items())


MALFORMED_HEADERS = {
    "out of the file": {"x": entry(0, 32, (8,))},
    "bytes that no tensor has": {"x": entry(0, 8, (2,))},
    "overlap": {"x": entry(0, 16), "y": entry(8, 16, (2,))},
    "hole": {"x": entry(0, 4, (1,)), "y": entry(8, 16, (2,))},
    "late start": {"x": entry(8, 16, (2,))},
    "wrong size": {"x": entry(0, 16, (3,))},
    "backwards": {"x": entry(16, 0, (4,))},
    "negative": {"x": entry(-16, 0)},
    "negative shape": {"x": entry(0, 16, (-2, -2))},
    "fraction": {"x": entry(0, 16, (4.0,))},
    "truth for a number": {"x": entry(0, 16, (True, 4))},
    "overflow": {"x": entry(0, 16, (2**40, 2**40))},
    "many axes": {"x": entry(0, 16, (1,) * 99 + (4,))},
    "unknown dtype": {"x": entry(dtype="F128")},
    "dtype no word": {"x": entry(dtype=["F32"])},
    "three offsets": {"x": entry() | {"data_offsets": [0, 16, 16]}},
    "more keys": {"x": entry() | {"code": "import os"}},
    "fewer keys": {"x": {"dtype": "F32", "shape": [4]}},
    "entry no object": {"x": 1},
    "metadata no strings": {"__metadata__": {"format": 1}, "x": entry()},
    "metadata no object": {"__metadata__": [], "x": entry()},
    "twice": b'{"x": ' + json.dumps(entry()).encode() + b', "x": ' + json.dumps(entry()).encode() + b"}",
    "offsets twice": b'{"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 8], "data_offsets": [0, 16]}}',
    "metadata twice": b'{"__metadata__": {"a": "1", "a": "2"}, "x": ' + json.dumps(entry()).encode() + b"}",
    "half a surrogate": b'{"\\ud800": ' + json.dumps(entry()).encode() + b"}",
    "twice, once in disguise": b'{"x": ' + json.dumps(entry()).encode() + b', "\\u0078": {}}',
    "UTF-16": '{"x": 1}'.encode("utf-16-le"),
    "array": b"[1]",
    "no JSON": b'{"x": ',
    "no UTF-8": b'{"\xff": 1}',
    "nesting": b'{"x":' + b"[" * 200_000,
    "infinity": b'{"x": Infinity}',
    "long number": b'{"x": ' + b"1" * 10_000 + b"}",
}


def test_metadata_may_be_null(tmp_path: Path) -> None:
    """safetensors and transformers read such files."""
    path = write_header(tmp_path / "x.safetensors", {"__metadata__": None, "x": entry()})
    assert load_file(path).keys() == {"x"}
    layout = read_layout(path)
    assert (layout.metadata, [*layout.spans]) == ({}, ["x"])


@pytest.mark.parametrize("case", MALFORMED_HEADERS)
def test_malformed_header_is_rejected(case: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        read_layout(write_header(tmp_path / "x.safetensors", MALFORMED_HEADERS[case]))


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**63, 2**64 - 1])
def test_wrong_header_length_is_rejected(length: int, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(16))
    with pytest.raises(CheckpointError, match="header"):
        read_layout(path)


def test_pickle_is_rejected_as_a_pickle(tmp_path: Path) -> None:
    for name in ("model.ckpt", "model.safetensors"):
        torch.save({"x": torch.zeros(3)}, tmp_path / name)
        with pytest.raises(CheckpointError, match="pickle files are never read"):
            read_layout(tmp_path / name)
    torch.save({"x": torch.zeros(3)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"never read.*[Ss]ave the model as safetensors"):
        read_layout(tmp_path / "old.pt")


def test_path_that_is_not_a_file_is_rejected(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(CheckpointError, match="can't be read"):
            read_layout(path)


def test_file_truncated_after_opening_is_rejected(file: Path, tmp_path: Path) -> None:
    copy = tmp_path / "x.safetensors"
    copy.write_bytes(file.read_bytes())
    tensors = TensorFile(copy)
    with copy.open("r+b") as shrinking:
        shrinking.truncate(tensors.span("b").start + 1)
    with pytest.raises(CheckpointError, match="ends early"):
        tensors.read("b")


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_is_rejected_or_harmless(data: st.DataObject, file: Path, tmp_path: Path) -> None:
    """Damaged bytes lead to a CheckpointError, or to a layout without gaps within the file."""
    raw = bytearray(file.read_bytes())
    header = 8 + struct.unpack("<Q", raw[:8])[0]
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, min(header, len(raw)) - 1))
        how = data.draw(st.sampled_from(["set", "cut", "put", "digit"]))
        if how == "set":
            raw[place] = data.draw(st.integers(0, 255))
        elif how == "digit":
            digits = [i for i in range(8, min(header, len(raw))) if chr(raw[i]).isdigit()] or [place]
            raw[data.draw(st.sampled_from(digits))] = data.draw(st.sampled_from(b"0123456789"))
        elif how == "cut":
            del raw[place : place + data.draw(st.integers(1, 40))]
        else:
            raw[place:place] = data.draw(st.binary(max_size=8))
        if len(raw) < 16:
            break
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(raw)
    try:
        tensors = TensorFile(path)
    except CheckpointError:
        return
    spans = list(tensors.layout.spans.values())
    ends = [struct.unpack("<Q", raw[:8])[0] + 8, *(span.end for span in spans)]
    assert [span.start for span in spans] == ends[:-1]
    assert ends[-1] == len(raw)
    for name, span in tensors.layout.spans.items():
        if span.dtype in DTYPES:
            with suppress(CheckpointError):  # NaN
                assert tensors.read(name).nbytes == span.size
