"""Mutations of safetensors files, from flipped bits to invalid headers."""

import json
import random
import struct
from collections.abc import Callable
from typing import Any

Header = dict[str, Any]
Mutation = Callable[[random.Random, bytes], bytes]

HUGE = (-1, 0, 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**63, 2**64 - 1, 2**64, 10**30)
VALUES: tuple[Any, ...] = (None, True, "", "x" * 1000, -1, 0.5, float("nan"), float("inf"), [], {}, [[]], *HUGE)
DTYPES = ("F32", "BF16", "I64", "F4", "BOOL", "F8_E4M3", "C64", "float32", "", "F32\u0000", "🦊")


def valid_file(rng: random.Random) -> bytes:
    """Return a small valid file."""
    shapes = {f"layer.{n}.weight": [rng.randint(1, 4), rng.randint(1, 4)] for n in range(rng.randint(1, 6))}
    header: Header = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (rows, columns) in shapes.items():
        size = rows * columns * 4
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [at, at + size]}
        at += size
    return pack(json.dumps(header).encode(), rng.randbytes(at))


def pack(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def unpack(file: bytes) -> tuple[Header, bytes]:
    length = struct.unpack("<Q", file[:8])[0]
    return json.loads(file[8 : 8 + length]), file[8 + length :]


def flip_bits(rng: random.Random, file: bytes) -> bytes:
    mutated_file = bytearray(file)
    for _ in range(rng.randint(1, 8)):
        mutated_file[rng.randrange(len(mutated_file))] ^= 1 << rng.randrange(8)
    return bytes(mutated_file)


def truncate(rng: random.Random, file: bytes) -> bytes:
    return file[: rng.randrange(len(file))]


def extend(rng: random.Random, file: bytes) -> bytes:
    return file + rng.randbytes(rng.randint(1, 100))


def duplicate_bytes(rng: random.Random, file: bytes) -> bytes:
    start, length = rng.randrange(len(file)), rng.randint(1, 40)
    at = rng.randrange(len(file))
    return file[:at] + file[start : start + length] + file[at:]


def set_wrong_length(rng: random.Random, file: bytes) -> bytes:
    return struct.pack("<Q", rng.choice(HUGE) % 2**64) + file[8:]


def change_entry(rng: random.Random, file: bytes) -> bytes:
    header, data = unpack(file)
    entry = header[rng.choice([name for name in header if name != "__metadata__"])]
    entry[rng.choice(["dtype", "shape", "data_offsets", "more"])] = rng.choice([*VALUES, rng.choice(DTYPES)])
    return pack(json.dumps(header).encode(), data)


def change_number(rng: random.Random, file: bytes) -> bytes:
    header, data = unpack(file)
    entry = header[rng.choice([name for name in header if name != "__metadata__"])]
    entry[rng.choice(["shape", "data_offsets"])][rng.randrange(2)] = rng.choice([*HUGE, rng.randint(-9, 99)])
    return pack(json.dumps(header).encode(), data)


def change_metadata(rng: random.Random, file: bytes) -> bytes:
    header, data = unpack(file)
    header["__metadata__"] = rng.choice([*VALUES, {"a": 1}, {"a": None}, {"a" * 10_000: "b"}])
    return pack(json.dumps(header).encode(), data)


def replace_json(rng: random.Random, file: bytes) -> bytes:
    header, data = unpack(file)
    text = json.dumps(header)
    odd = rng.choice(
        [
            "[" * 100_000,
            '{"a":' * 50_000,
            text[:-1] + "," + text[1:],  # Repeats every key.
            text[:-1] + ', "x": NaN}',
            text[:-1] + ', "n": ' + "9" * 5000 + "}",
            text.replace("layer", "\\ud800"),
            text.replace("layer", "../../etc/passwd"),
            text + " " * 10_000,
            text + "x",
            "null",
            '"' + "a" * 100_000 + '"',
            json.dumps({f"t{n}": {} for n in range(20_000)}),
        ]
    )
    return pack(odd.encode("utf-8", "surrogatepass"), data)


def other_format(rng: random.Random, file: bytes) -> bytes:
    """Replace the file by another format, a pickle that would print, or noise."""
    pickle = b"\x80\x04cbuiltins\nprint\n(S'boom'\ntR."
    return rng.choice([b"", b"{", b"PK\x03\x04" + file, pickle, b"GGUF" + file, rng.randbytes(200), b"\0" * 64])


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    truncate,
    extend,
    duplicate_bytes,
    set_wrong_length,
    change_entry,
    change_number,
    change_metadata,
    replace_json,
    other_format,
)


def mutated_file(seed: int) -> bytes:
    """Apply one or two mutations to a valid file; the same seed gives the same bytes."""
    rng = random.Random(seed)
    file = rng.choice(MUTATIONS)(rng, valid_file(rng))
    return rng.choice((flip_bits, truncate, extend))(rng, file) if file and rng.random() < 0.2 else file
