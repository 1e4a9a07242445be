"""Full weights made from base and delta, against copying the base file: what a user would wait for anyway.

A file of the size of Stable Diffusion 1.5's text encoder in float32, one tensor of it edited, in the page cache.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch

from editor.bench.outcome import Measure, Outcome, at_least, side_by_side
from editor.checkpoints.tensor_reader import TensorFile, as_bytes
from editor.io.atomic import sync_folder
from editor.methods.tensor_update import TensorUpdate
from editor.publishing.apply import apply_delta, patches
from editor.publishing.delta import write_delta
from editor.publishing.overlay import write_segments

MEGABYTE = 1_000_000
SIZE, WIDTH, RANK = 500 * MEGABYTE, 768, 8
TENSOR = "text_model.encoder.layers.0.self_attn.out_proj.weight"
BOUND = 0.8
REPEATS = 15


def run() -> Outcome:
    """Bytes streamed to a file, then the whole of `expunge apply` to a file that is safely on the disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, delta = write_base(folder / "model.safetensors"), folder / "delta.safetensors"
        write_delta([update_of(base)], base, delta)
        ours, peer, ratio = stream_beside_copy(base, delta, folder / "ours", folder / "peer")
        *_, safely = apply_beside_safe_copy(base, delta, folder / "ours", folder / "peer")
    bounds = [
        at_least("speed of streaming over that of copying", ratio.median, BOUND),
        at_least("speed of applying over that of copying, both synced and renamed", safely.median, BOUND),
    ]
    return Outcome(name="overlay", ours=ours, peer=peer, ratio=ratio, bounds=bounds)


def stream_beside_copy(base: Path, delta: Path, ours: Path, peer: Path) -> tuple[Measure, Measure, Measure]:
    """The streaming alone, against ``shutil.copyfile``."""
    (patch,) = patches(base, delta)

    def stream() -> None:
        with ours.open("wb") as target:
            write_segments(patch.segments, base, delta, target)

    return side_by_side(stream, lambda: shutil.copyfile(base, peer), REPEATS, before_each=lambda: clear(ours, peer))


def apply_beside_safe_copy(base: Path, delta: Path, ours: Path, peer: Path) -> tuple[Measure, Measure, Measure]:
    """Check, stream, sync and rename, against copy, sync and rename."""
    staged = peer.with_suffix(".partial")

    def copy() -> None:
        shutil.copyfile(base, staged)
        with staged.open("rb+") as file:
            os.fsync(file.fileno())
        staged.replace(peer)
        sync_folder(peer.parent)

    return side_by_side(lambda: apply_delta(base, delta, ours), copy, REPEATS, before_each=lambda: clear(ours, peer))


def clear(*files: Path) -> None:
    """Neither side shall wait for what the other one left to be written."""
    for file in files:
        file.unlink(missing_ok=True)
    os.sync()


def write_base(path: Path) -> Path:
    """A safetensors file with one small matrix between two large pieces."""
    matrix = as_bytes(torch.randn(WIDTH, WIDTH))
    header, end = {}, 0
    for name, size in (("a", SIZE // 2), (TENSOR, len(matrix)), ("z", SIZE // 2)):
        dtype, shape = ("F32", [WIDTH, WIDTH]) if name == TENSOR else ("U8", [size])
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text, large = json.dumps(header).encode(), os.urandom(MEGABYTE) * (SIZE // 2 // MEGABYTE)
    with path.open("wb") as file:
        file.writelines([len(text).to_bytes(8, "little"), text, large, matrix, large])
    return path


def update_of(base: Path) -> TensorUpdate:
    """A random update of the matrix."""
    up, down = (torch.randn(shape, dtype=torch.float64) for shape in ((WIDTH, RANK), (RANK, WIDTH)))
    return TensorUpdate("text_encoder", TENSOR, TENSOR, base, TensorFile(base).read(TENSOR), up, down)
