"""Recorded activations on disk: shards of safetensors, a manifest, and labels."""

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
"""Kind of label (object, style, prompt, seed, ...) -> one for each item."""
MANIFEST_FILE, LABELS_FILE = "manifest.json", "labels.json"


class StoreManifest(BaseModel):
    """What the rows of one store are. Written last: a store without it is not finished."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    module: str
    timestep: int
    """As the scheduler counts, 0 (clean) to 999; 0 where there is no diffusion."""
    pooling: Pooling
    items: int
    """Images or prompts."""
    channels: int
    grid: tuple[int, int]
    """Height and width of a map."""
    shards: tuple[str, ...]
    about: dict[str, Any]
    """What else the activations depend on: protocol, model digest, seed, prompt."""

    @property
    def rows_per_item(self) -> int:
        """Rows of an item."""
        return self.grid[0] * self.grid[1] if self.pooling == "patch" else 1


def pool_maps(maps: Tensor, pooling: Pooling) -> Tensor:
    """``(b, c, h, w)`` -> ``(rows, c)`` float32: a row for each item, or for each position of each item, row by row."""
    if pooling == "patch":
        return maps.float().flatten(2).transpose(1, 2).flatten(0, 1).contiguous()
    return maps.float().mean((2, 3)) if pooling == "mean" else maps.float().amax((2, 3))


def write_shard(folder: Path, index: int, rows: Tensor) -> None:
    """All or nothing."""
    write_bytes(folder / shard_name(index), save({"rows": rows}))


def shard_name(index: int) -> str:
    """A shard's file."""
    return f"rows-{index:05}.safetensors"


def write_manifest(folder: Path, manifest: StoreManifest, labels: Labels) -> None:
    """Write the labels, then the manifest."""
    write_bytes(folder / LABELS_FILE, json.dumps(labels).encode())
    write_bytes(folder / MANIFEST_FILE, manifest.model_dump_json(indent=1).encode())


class ActivationStore:
    """What one module put out at one timestep, for many images or prompts.

    Raises:
        FeatureError: the folder holds no finished store.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / MANIFEST_FILE).is_file():
            raise FeatureError(
                f"There is no finished recording of activations in {folder}.",
                field="folder",
                remedy="Record it, or run the recording again: it goes on where it stopped.",
            )
        self.folder = folder
        self.manifest = StoreManifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
        self.item_labels: Labels = json.loads((folder / LABELS_FILE).read_bytes())

    @cached_property
    def row_labels(self) -> Labels:
        """For each row."""
        each = self.manifest.rows_per_item
        return {kind: [label for label in own for _ in range(each)] for kind, own in self.item_labels.items()}

    def rows(self) -> Tensor:
        """``(rows, channels)`` float32, mapped from disk: only what is read takes memory. Not to be written to."""
        return self.mapped_rows

    @cached_property
    def mapped_rows(self) -> Tensor:
        """One shard is mapped as it is, several through a scratch file beside them, which the system drops at the end."""
        shards = [read_shard(self.folder / name) for name in self.manifest.shards]
        return shards[0] if len(shards) == 1 else concatenate_shards(shards, self.folder)

    def maps(self) -> Tensor:
        """``(items, channels, height, width)``, of a store that keeps every position.

        Raises:
            FeatureError: the store holds means or maxima.
        """
        if self.manifest.pooling != "patch":
            raise FeatureError("Pooled activations have no maps.", field="pooling", remedy="Record with pooling patch.")
        return self.rows().reshape(self.manifest.items, *self.manifest.grid, -1).permute(0, 3, 1, 2)


def read_shard(path: Path) -> Tensor:
    """Mapped."""
    with safe_open(path, "pt") as file:
        rows: Tensor = file.get_tensor("rows")
    return rows


def concatenate_shards(shards: list[Tensor], folder: Path) -> Tensor:
    """One mapped tensor of all."""
    shape = (sum(map(len, shards)), shards[0].shape[1])
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".rows-") as scratch:
        whole = torch.from_file(scratch.name, shared=True, size=shape[0] * shape[1]).reshape(shape)
    torch.cat(shards, out=whole)
    return whole
