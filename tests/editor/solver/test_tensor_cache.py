"""The cache of tensors: what is read back, and that calculations with it give the same bytes."""

from pathlib import Path

import pytest
import torch

from editor.solver.tensor_cache import FolderCache, get_or_compute

ALIGNMENT = 64
"""Where torch's own memory begins, in bytes."""


@pytest.mark.parametrize("key", ["", "x", "xy", "xyz", 5 * "xyz"])
def test_read_tensors_begin_where_computed_ones_do(tmp_path: Path, key: str) -> None:
    """The length of the key moves the tensors in the file."""
    cache, tensors = FolderCache(tmp_path), {"a": torch.rand(3, dtype=torch.float64), "b": torch.rand(7)}
    cache.put("name", key, tensors)
    found = cache.get("name")
    assert found is not None
    assert found[0] == key
    for name, tensor in found[1].items():
        assert torch.equal(tensor, tensors[name])
        assert tensor.data_ptr() % ALIGNMENT == 0


def test_a_product_with_a_cached_tensor_has_the_bytes_of_one_with_the_computed_tensor(tmp_path: Path) -> None:
    cache, generator = FolderCache(tmp_path), torch.Generator().manual_seed(0)
    tensor, other = (torch.randn(32, 32, dtype=torch.float64, generator=generator) for _ in range(2))
    computed, cached = (get_or_compute(cache, "name", "key", lambda: tensor) for _ in range(2))
    assert cached is not computed
    assert torch.equal(torch.linalg.solve(cached, other), torch.linalg.solve(computed, other))
    assert torch.equal(cached @ other, computed @ other)


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_unreadable_files_are_misses(tmp_path: Path, content: bytes | None) -> None:
    cache = FolderCache(tmp_path)
    if content is not None:
        cache.path_of("name").write_bytes(content)
    assert cache.get("name") is None
