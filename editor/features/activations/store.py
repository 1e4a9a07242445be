"""A store of recorded activations on disk: safetensors shards, a manifest, and labels."""

import json
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from editor.errors import FeatureError
from editor.io.atomic import write_bytes

Pooling = Literal["mean", "max", "patch"]
Labels = dict[str, list[str]]
"""Kind of label (object, style, prompt, seed, ...) -> one label per item."""
MANIFEST_FILE, LABELS_FILE = "manifest.json", "labels.json"


class StoreManifest(BaseModel):
    """Description of one store. Written last: a store without a manifest is unfinished."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    module: str
    timestep: int
    """Scheduler timestep, 0 (clean) to 999; 0 if there is no diffusion."""
    pooling: Pooling
    items: int
    """Number of images or prompts."""
    channels: int
    grid: tuple[int, int]
    """Height and width of a map before pooling."""
    shards: tuple[str, ...]
    about: dict[str, Any]
    """What else the activations depend on: protocol, model digest, seed, prompts."""

    @property
    def rows_per_item(self) -> int:
        """Rows per item: one, or one per position without pooling."""
        return self.grid[0] * self.grid[1] if self.pooling == "patch" else 1


def pool_maps(maps: Tensor, pooling: Pooling) -> Tensor:
    """Pool ``(b, c, h, w)`` maps to ``(rows, c)`` float32: one row per item, or one per position in row-major order."""
    if pooling == "patch":
        return maps.float().flatten(2).transpose(1, 2).flatten(0, 1).contiguous()
    return maps.float().mean((2, 3)) if pooling == "mean" else maps.float().amax((2, 3))


def write_shard(folder: Path, index: int, rows: Tensor) -> None:
    """Write a shard atomically."""
    write_bytes(folder / shard_name(index), save({"rows": rows}))


def shard_name(index: int) -> str:
    """Return the file name of a shard."""
    return f"rows-{index:05}.safetensors"


def write_manifest(folder: Path, manifest: StoreManifest, labels: Labels) -> None:
    """Finish a store: write the labels, then the manifest."""
    write_bytes(folder / LABELS_FILE, json.dumps(labels).encode())
    write_bytes(folder / MANIFEST_FILE, manifest.model_dump_json(indent=1).encode())


class ActivationStore:
    """Outputs of one module at one timestep, for many images or prompts.

    Raises:
        FeatureError: the folder does not contain a finished store.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / MANIFEST_FILE).is_file():
            raise FeatureError(
                f"{folder} does not contain a finished recording of activations.",
                field="folder",
                remedy="Run the recording (again); it resumes where it stopped.",
            )
        self.folder = folder
        self.manifest = StoreManifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
        self.item_labels: Labels = json.loads((folder / LABELS_FILE).read_bytes())

    @cached_property
    def row_labels(self) -> Labels:
        """Kind of label -> one label per row."""
        repeats = self.manifest.rows_per_item
        return {kind: [label for label in labels for _ in range(repeats)] for kind, labels in self.item_labels.items()}

    def rows(self) -> Tensor:
        """Return ``(rows, channels)`` float32, memory-mapped. Do not write to it."""
        return self.mapped_rows

    @cached_property
    def mapped_rows(self) -> Tensor:
        """The rows: a single shard is mapped directly, several are copied to a temporary file that is mapped and unlinked."""
        shards = [read_shard(self.folder / name) for name in self.manifest.shards]
        return shards[0] if len(shards) == 1 else concatenate_shards(shards, self.folder)

    def maps(self) -> Tensor:
        """Return ``(items, channels, height, width)`` maps.

        Raises:
            FeatureError: the store was recorded with mean or max pooling.
        """
        if self.manifest.pooling != "patch":
            raise FeatureError(
                f"The store was recorded with pooling={self.manifest.pooling!r}, which keeps no maps.",
                field="pooling",
                remedy="Record with pooling='patch'.",
            )
        return self.rows().reshape(self.manifest.items, *self.manifest.grid, -1).permute(0, 3, 1, 2)


def read_shard(path: Path) -> Tensor:
    """Memory-map the rows of a shard."""
    with safe_open(path, "pt") as file:
        rows: Tensor = file.get_tensor("rows")
    return rows


def concatenate_shards(shards: list[Tensor], folder: Path) -> Tensor:
    """Concatenate shards in a memory-mapped temporary file."""
    shape = (sum(map(len, shards)), shards[0].shape[1])
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".rows-") as scratch:
        whole = torch.from_file(scratch.name, shared=True, size=shape[0] * shape[1]).reshape(shape)
    torch.cat(shards, out=whole)
    return whole
