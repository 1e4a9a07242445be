"""Record activations to disk, shard by shard; an interrupted recording resumes at its last unfinished shard."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from editor.errors import FeatureError
from editor.features.activations.store import (
    ActivationStore,
    Labels,
    Pooling,
    StoreManifest,
    pool_maps,
    shard_name,
    write_manifest,
    write_shard,
)
from editor.io.atomic import write_bytes
from editor.io.progress import checked

StoreKey = tuple[str, int]
"""Module and timestep."""
PROGRESS_FILE = "recording.json"


class ActivationSource(Protocol):
    """Computes the activations to record. The maps of an item must not depend on the batch that it is in."""

    def __len__(self) -> int:
        """Number of items (images or prompts)."""
        ...

    @property
    def provenance(self) -> dict[str, Any]:
        """Everything that the activations depend on, as JSON values."""
        ...

    def maps(self, items: range) -> Mapping[StoreKey, Tensor]:
        """Return ``(len(items), channels, height, width)`` maps for every module and timestep."""
        ...


def record(
    folder: Path,
    source: ActivationSource,
    labels: Labels,
    pooling: Pooling = "mean",
    batch: int = 64,
    shard: int = 1024,
) -> dict[StoreKey, ActivationStore]:
    """Record a source into ``folder/MODULE/tTIMESTEP``, or open the stores if they were recorded before.

    Args:
        labels: kind of label -> one label per item.
        pooling: over positions: ``mean`` or ``max`` (one row per item), or ``patch`` (one row per position).
        batch: items per forward pass.
        shard: items per file; an interruption loses at most one shard.

    Raises:
        FeatureError: the folder contains a different recording, or the number of labels is wrong.
    """
    wrong = [kind for kind, values in labels.items() if len(values) != len(source)]
    if wrong or not len(source):
        raise FeatureError(
            f"There are {len(source)} items, but a different number of labels of kind {', '.join(wrong)}."
            if wrong
            else "There is nothing to record.",
            field="labels" if wrong else "items",
            remedy="Pass one label of each kind per item." if wrong else "Pass at least one image or prompt.",
        )
    progress = RecordingProgress(folder, source, labels, pooling, shard)
    with tqdm(total=len(source), initial=progress.finished_shards * shard, desc="activations") as bar, torch.no_grad():
        for start in range(progress.finished_shards * shard, len(source), shard):
            items = range(start, min(start + shard, len(source)))
            progress.append_shard(collect_rows(source, items, batch, pooling, bar))
    progress.write_manifests()
    return {key: ActivationStore(store_folder(folder, key)) for key in progress.keys}


@dataclass
class ModuleRows:
    """Rows of one module at one timestep."""

    shape: list[int]
    """Channels, height and width of a map."""
    parts: list[Tensor]


def collect_rows(
    source: ActivationSource, items: range, batch: int, pooling: Pooling, bar: tqdm
) -> dict[StoreKey, ModuleRows]:
    """Compute and pool the maps of the items, batch by batch."""
    rows: dict[StoreKey, ModuleRows] = {}
    for start in checked(range(items.start, items.stop, batch)):
        part = range(start, min(start + batch, items.stop))
        for key, maps in source.maps(part).items():
            rows.setdefault(key, ModuleRows(list(maps.shape[1:]), [])).parts.append(pool_maps(maps, pooling).cpu())
        bar.update(len(part))
    return rows


class RecordingProgress:
    """Progress of a recording on disk. It stores an identity of the source, so that two recordings are never mixed."""

    def __init__(self, folder: Path, source: ActivationSource, labels: Labels, pooling: Pooling, shard: int) -> None:
        self.folder, self.labels, self.items, self.pooling = folder, labels, len(source), pooling
        self.provenance = source.provenance
        self.identity = hashlib.sha256(
            json.dumps([self.provenance, labels, pooling, shard, self.items], sort_keys=True).encode()
        ).hexdigest()
        self.finished_shards, self.shapes = self.read_progress()

    @property
    def keys(self) -> list[StoreKey]:
        """Module and timestep of each store."""
        return list(self.shapes)

    def read_progress(self) -> tuple[int, dict[StoreKey, list[int]]]:
        """Return the number of finished shards and the map shape of each store."""
        path = self.folder / PROGRESS_FILE
        if not path.is_file():
            return 0, {}
        state = json.loads(path.read_bytes())
        if state["identity"] != self.identity:
            raise FeatureError(
                f"{self.folder} contains a different recording.",
                field="folder",
                remedy="Choose another folder, or delete this one.",
            )
        return state["done"], {(module, timestep): shape for module, timestep, shape in state["stores"]}

    def append_shard(self, rows: Mapping[StoreKey, ModuleRows]) -> None:
        """Write the next shard of every store, then the progress file."""
        for key, module_rows in rows.items():
            write_shard(store_folder(self.folder, key), self.finished_shards, torch.cat(module_rows.parts))
        self.shapes = {key: module_rows.shape for key, module_rows in rows.items()}
        self.finished_shards += 1
        stores = [[module, timestep, shape] for (module, timestep), shape in self.shapes.items()]
        state = {"identity": self.identity, "done": self.finished_shards, "stores": stores}
        write_bytes(self.folder / PROGRESS_FILE, json.dumps(state).encode())

    def write_manifests(self) -> None:
        """Write the manifest of every store, which marks the recording as finished."""
        for (module, timestep), (channels, height, width) in self.shapes.items():
            manifest = StoreManifest(
                module=module,
                timestep=timestep,
                pooling=self.pooling,
                items=self.items,
                channels=channels,
                grid=(height, width),
                shards=tuple(map(shard_name, range(self.finished_shards))),
                about=self.provenance,
            )
            write_manifest(store_folder(self.folder, (module, timestep)), manifest, self.labels)


def store_folder(folder: Path, key: StoreKey) -> Path:
    """Return the store folder of one module at one timestep."""
    return folder / key[0] / f"t{key[1]:03}"


def module_digest(*modules: nn.Module) -> str:
    """Return the sha256 of names, types, shapes and values of all tensors; it changes when a model is edited."""
    state = (item for module in modules for item in sorted(module.state_dict().items()))
    return digest_lines(f"{name} {tensor_digest(tensor)}" for name, tensor in state)


def tensor_digest(tensor: Tensor) -> str:
    """Return the sha256 of a tensor's type, shape and values."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
    digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def digest_lines(lines: Iterable[str]) -> str:
    """Return the sha256 of the lines."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
