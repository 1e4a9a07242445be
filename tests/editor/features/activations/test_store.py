"""Recording activations: reading back, resuming, and rejecting a different recording."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from editor.errors import FeatureError
from editor.features.activations import ActivationStore, record
from editor.features.activations.recorder import StoreKey, module_digest
from editor.features.activations.store import pool_maps

LABELS = {"object": [f"thing {i}" for i in range(10)], "style": ["ink", "noto"] * 5}


@dataclass
class PlantedSource:
    """A source of ten items, one module and two timesteps, whose values encode their position."""

    fail_at: int | None = None
    """The item at which recording is interrupted."""
    seed: int = 0
    asked: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return 10

    @property
    def provenance(self) -> dict[str, Any]:
        return {"protocol": "planted", "seed": self.seed}

    def maps(self, items: range) -> Mapping[StoreKey, Tensor]:
        if self.fail_at is not None and self.fail_at in items:
            raise KeyboardInterrupt
        self.asked += items
        return {("block", t): torch.stack([planted_map(i, t) for i in items]) for t in (25, 200)}


def planted_map(item: int, timestep: int) -> Tensor:
    """``(3 channels, 2, 4)``"""
    place = torch.arange(8).reshape(2, 4)
    return torch.stack([10_000.0 * timestep + 1000 * item + 100 * channel + place for channel in range(3)])


@pytest.mark.parametrize("shard", [10, 4])
def test_recorded_maps_rows_and_labels_are_read_back(tmp_path: Path, shard: int) -> None:
    stores = record(tmp_path, PlantedSource(), LABELS, "patch", batch=2, shard=shard)
    assert list(stores) == [("block", 25), ("block", 200)]
    store = ActivationStore(tmp_path / "block" / "t200")
    assert len(store.manifest.shards) == -(-10 // shard)
    assert store.rows().shape == (80, 3)
    assert store.rows().dtype == torch.float32
    assert store.row_labels["object"][8 * 3 : 8 * 4] == ["thing 3"] * 8
    for item in range(10):
        assert torch.equal(store.maps()[item], planted_map(item, 200))


@given(batch=st.integers(1, 11), shard=st.integers(1, 11))
@settings(max_examples=8, deadline=None)
def test_result_does_not_depend_on_batch_or_shard_size(
    tmp_path_factory: pytest.TempPathFactory, batch: int, shard: int
) -> None:
    folder = tmp_path_factory.mktemp("stores")
    store = record(folder, PlantedSource(), LABELS, "mean", batch, shard)["block", 25]
    assert torch.equal(store.rows(), torch.stack([planted_map(i, 25).mean((1, 2)) for i in range(10)]))
    assert store.row_labels == LABELS


@pytest.mark.parametrize("fail_at", range(10))
def test_interrupted_recording_resumes_at_its_shard(tmp_path: Path, fail_at: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, PlantedSource(fail_at), LABELS, "patch", batch=2, shard=4)
    with pytest.raises(FeatureError, match="finished recording"):
        ActivationStore(tmp_path / "block" / "t025")
    again = PlantedSource()
    store = record(tmp_path, again, LABELS, "patch", batch=2, shard=4)["block", 25]
    assert again.asked == list(range(fail_at // 4 * 4, 10))
    assert torch.equal(store.maps(), torch.stack([planted_map(i, 25) for i in range(10)]))


def test_finished_recording_is_not_recorded_again(tmp_path: Path) -> None:
    record(tmp_path, PlantedSource(), LABELS)
    again = PlantedSource()
    assert len(record(tmp_path, again, LABELS)["block", 25].rows()) == 10
    assert again.asked == []


@pytest.mark.parametrize(
    ("source", "labels", "pooling"),
    [
        (PlantedSource(seed=1), LABELS, "mean"),
        (PlantedSource(), LABELS | {"style": ["ink"] * 10}, "mean"),
        (PlantedSource(), LABELS, "max"),
    ],
)
def test_different_recording_is_rejected_without_changing_the_first(
    tmp_path: Path, source: PlantedSource, labels: dict[str, list[str]], pooling: Any
) -> None:
    first = record(tmp_path, PlantedSource(), LABELS)["block", 25].rows().clone()
    with pytest.raises(FeatureError, match="a different recording"):
        record(tmp_path, source, labels, pooling)
    assert torch.equal(ActivationStore(tmp_path / "block" / "t025").rows(), first)


def test_wrong_number_of_labels_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="style") as caught:
        record(tmp_path, PlantedSource(), LABELS | {"style": ["ink"]})
    assert caught.value.field == "labels"
    assert not list(tmp_path.iterdir())


def test_pooling() -> None:
    maps = torch.randn(2, 3, 4, 5)
    assert torch.equal(pool_maps(maps, "patch")[1 * 20 + 2 * 5 + 3], maps[1, :, 2, 3])
    torch.testing.assert_close(pool_maps(maps, "mean"), maps.flatten(2).mean(2))
    assert torch.equal(pool_maps(maps, "max"), maps.flatten(2).amax(2))


def test_pooled_store_has_no_maps(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match="keeps no maps"):
        record(tmp_path, PlantedSource(), LABELS)["block", 25].maps()


class WideSource(PlantedSource):
    """A source of 40 MB."""

    def maps(self, items: range) -> Mapping[StoreKey, Tensor]:
        return {("block", 0): torch.ones(len(items), 1_000_000, 1, 1)}


@pytest.mark.parametrize("shard", [10, 5])
def test_rows_are_memory_mapped(tmp_path: Path, shard: int) -> None:
    store = record(tmp_path, WideSource(), LABELS, batch=5, shard=shard)["block", 0]
    before = private_memory()
    rows = store.rows()
    assert float(rows.sum()) == 1e7
    assert private_memory() - before < 8e6
    assert sorted(p.name for p in store.folder.iterdir() if p.name.startswith(".")) == []


def private_memory() -> int:
    """Return the private memory of the process in bytes."""
    memory = psutil.Process(os.getpid()).memory_info()
    return int(memory.rss - memory.shared)


def test_edited_module_has_a_different_digest() -> None:
    module = torch.nn.Linear(2, 2)
    first = module_digest(module)
    assert module_digest(module) == first
    with torch.no_grad():
        module.bias[1] += 1e-6
    assert module_digest(module) != first
