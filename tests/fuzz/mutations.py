"""Ways to spoil a safetensors file, from a flipped bit to headers that lie."""

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


def valid(chance: random.Random) -> bytes:
    """A small sound file."""
    shapes = {f"layer.{n}.weight": [chance.randint(1, 4), chance.randint(1, 4)] for n in range(chance.randint(1, 6))}
    header: Header = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, (rows, columns) in shapes.items():
        size = rows * columns * 4
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [at, at + size]}
        at += size
    return packed(json.dumps(header).encode(), chance.randbytes(at))


def packed(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def parts(file: bytes) -> tuple[Header, bytes]:
    length = struct.unpack("<Q", file[:8])[0]
    return json.loads(file[8 : 8 + length]), file[8 + length :]


def flip_bits(chance: random.Random, file: bytes) -> bytes:
    spoilt = bytearray(file)
    for _ in range(chance.randint(1, 8)):
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
    return bytes(spoilt)


def cut(chance: random.Random, file: bytes) -> bytes:
    return file[: chance.randrange(len(file))]


def extend(chance: random.Random, file: bytes) -> bytes:
    return file + chance.randbytes(chance.randint(1, 100))


def shuffle(chance: random.Random, file: bytes) -> bytes:
    start, length = chance.randrange(len(file)), chance.randint(1, 40)
    at = chance.randrange(len(file))
    return file[:at] + file[start : start + length] + file[at:]


def lie_about_the_length(chance: random.Random, file: bytes) -> bytes:
    return struct.pack("<Q", chance.choice(HUGE) % 2**64) + file[8:]


def change_an_entry(chance: random.Random, file: bytes) -> bytes:
    header, data = parts(file)
    entry = header[chance.choice([name for name in header if name != "__metadata__"])]
    entry[chance.choice(["dtype", "shape", "data_offsets", "more"])] = chance.choice([*VALUES, chance.choice(DTYPES)])
    return packed(json.dumps(header).encode(), data)


def change_a_number(chance: random.Random, file: bytes) -> bytes:
    header, data = parts(file)
    entry = header[chance.choice([name for name in header if name != "__metadata__"])]
    entry[chance.choice(["shape", "data_offsets"])][chance.randrange(2)] = chance.choice(
        [*HUGE, chance.randint(-9, 99)]
    )
    return packed(json.dumps(header).encode(), data)


def change_the_metadata(chance: random.Random, file: bytes) -> bytes:
    header, data = parts(file)
    header["__metadata__"] = chance.choice([*VALUES, {"a": 1}, {"a": None}, {"a" * 10_000: "b"}])
    return packed(json.dumps(header).encode(), data)


def odd_json(chance: random.Random, file: bytes) -> bytes:
    header, data = parts(file)
    text = json.dumps(header)
    odd = chance.choice(
        [
            "[" * 100_000,
            '{"a":' * 50_000,
            text[:-1] + "," + text[1:],  # every key twice
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
    return packed(odd.encode("utf-8", "surrogatepass"), data)


def something_else(chance: random.Random, file: bytes) -> bytes:
    """Other formats under the name, a pickle that would print, and noise."""
    pickle = b"\x80\x04cbuiltins\nprint\n(S'boom'\ntR."
    return chance.choice([b"", b"{", b"PK\x03\x04" + file, pickle, b"GGUF" + file, chance.randbytes(200), b"\0" * 64])


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    cut,
    extend,
    shuffle,
    lie_about_the_length,
    change_an_entry,
    change_a_number,
    change_the_metadata,
    odd_json,
    something_else,
)


def spoilt(seed: int) -> bytes:
    """One or two mutations of a sound file; the same seed, the same bytes."""
    chance = random.Random(seed)
    file = chance.choice(MUTATIONS)(chance, valid(chance))
    return chance.choice((flip_bits, cut, extend))(chance, file) if file and chance.random() < 0.2 else file
