"""Benchmark of writing full weights from base and delta against copying the base file.

The file is in the page cache, has the size of Stable Diffusion 1.5's text encoder in float32, and one of its tensors is edited.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch

from editor.bench.outcome import BenchmarkResult, Measurement, at_least, time_alternately
from editor.checkpoints.tensor_reader import TensorFile
from editor.checkpoints.tensor_update import TensorUpdate
from editor.io.atomic import sync_folder
from editor.io.digests import tensor_bytes
from editor.publishing.apply import apply_delta, plan_patches
from editor.publishing.delta import write_delta
from editor.publishing.overlay import write_segments

MEGABYTE = 1_000_000
FILE_BYTES, WIDTH, RANK = 500 * MEGABYTE, 768, 8
TENSOR = "text_model.encoder.layers.0.self_attn.out_proj.weight"
MIN_SPEED_RATIO = 0.8
REPEATS = 15


def run() -> BenchmarkResult:
    """Time streaming to a file, then the whole of `expunge apply`, which also syncs and renames the file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base, delta = write_base(folder / "model.safetensors"), folder / "delta.safetensors"
        write_delta([random_update(base)], base, delta)
        ours, peer, ratio = compare_stream_with_copy(base, delta, folder / "ours", folder / "peer")
        *_, synced_ratio = compare_apply_with_synced_copy(base, delta, folder / "ours", folder / "peer")
    bounds = [
        at_least("speed of streaming over that of copying", ratio.median, MIN_SPEED_RATIO),
        at_least(
            "speed of applying over that of copying, both synced and renamed", synced_ratio.median, MIN_SPEED_RATIO
        ),
    ]
    return BenchmarkResult(name="overlay", ours=ours, peer=peer, ratio=ratio, bounds=bounds)


def compare_stream_with_copy(
    base: Path, delta: Path, ours: Path, peer: Path
) -> tuple[Measurement, Measurement, Measurement]:
    """Time the streaming alone against ``shutil.copyfile``."""
    (patch,) = plan_patches(base, delta)

    def stream() -> None:
        with ours.open("wb") as target:
            write_segments(patch.segments, base, delta, target)

    return time_alternately(
        stream, lambda: shutil.copyfile(base, peer), REPEATS, before_each=lambda: delete_and_sync(ours, peer)
    )


def compare_apply_with_synced_copy(
    base: Path, delta: Path, ours: Path, peer: Path
) -> tuple[Measurement, Measurement, Measurement]:
    """Time check, stream, sync and rename against copy, sync and rename."""
    staged = peer.with_suffix(".partial")

    def copy() -> None:
        shutil.copyfile(base, staged)
        with staged.open("rb+") as file:
            os.fsync(file.fileno())
        staged.replace(peer)
        sync_folder(peer.parent)

    return time_alternately(
        lambda: apply_delta(base, delta, ours), copy, REPEATS, before_each=lambda: delete_and_sync(ours, peer)
    )


def delete_and_sync(*files: Path) -> None:
    """Delete files, and sync so that a run does not wait for the writes of the previous one."""
    for file in files:
        file.unlink(missing_ok=True)
    os.sync()


def write_base(path: Path) -> Path:
    """Write a safetensors file with one small matrix between two large tensors."""
    matrix = tensor_bytes(torch.randn(WIDTH, WIDTH))
    header, end = {}, 0
    for name, size in (("a", FILE_BYTES // 2), (TENSOR, len(matrix)), ("z", FILE_BYTES // 2)):
        dtype, shape = ("F32", [WIDTH, WIDTH]) if name == TENSOR else ("U8", [size])
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text, large = json.dumps(header).encode(), os.urandom(MEGABYTE) * (FILE_BYTES // 2 // MEGABYTE)
    with path.open("wb") as file:
        file.writelines([len(text).to_bytes(8, "little"), text, large, matrix, large])
    return path


def random_update(base: Path) -> TensorUpdate:
    """Return a random update of the matrix."""
    up, down = (torch.randn(shape, dtype=torch.float64) for shape in ((WIDTH, RANK), (RANK, WIDTH)))
    return TensorUpdate("text_encoder", TENSOR, TENSOR, base, TensorFile(base).read(TENSOR), up, down)
