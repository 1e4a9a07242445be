"""A cache of tensors that are expensive to compute, each stored with the key that it is valid for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from editor.io.aligned_tensors import align_tensors
from editor.io.atomic import write_bytes

Tensors = Mapping[str, Tensor]


class TensorCache(Protocol):
    """Stores named groups of tensors, one entry for each name."""

    def get(self, name: str) -> tuple[str, Tensors] | None:
        """Return the key and the tensors stored under ``name``, or None."""
        ...

    def put(self, name: str, key: str, tensors: Tensors) -> None:
        """Store tensors under ``name``, replacing the previous entry."""
        ...


class NullCache:
    """A cache that stores nothing."""

    def get(self, name: str) -> None:
        """Return None: always a miss."""

    def put(self, name: str, key: str, tensors: Tensors) -> None:
        """Do nothing."""


NULL_CACHE = NullCache()


@dataclass(frozen=True)
class MemoryCache:
    """A cache for as long as it is kept."""

    entries: dict[str, tuple[str, Tensors]] = field(default_factory=dict)

    def get(self, name: str) -> tuple[str, Tensors] | None:
        """Return an entry."""
        return self.entries.get(name)

    def put(self, name: str, key: str, tensors: Tensors) -> None:
        """Replace an entry."""
        self.entries[name] = key, tensors


@dataclass(frozen=True)
class FolderCache:
    """A cache with one safetensors file for each name. An unreadable file counts as a miss."""

    folder: Path

    def get(self, name: str) -> tuple[str, Tensors] | None:
        """Read an entry."""
        try:
            with safe_open(self.path_of(name), "pt") as file:
                stored = {part: file.get_tensor(part) for part in file.keys()}  # noqa: SIM118
                return file.metadata()["key"], align_tensors(stored)
        except (OSError, SafetensorError, KeyError, TypeError):
            return None

    def put(self, name: str, key: str, tensors: Tensors) -> None:
        """Write an entry atomically."""
        write_bytes(self.path_of(name), save(dict(tensors), metadata={"key": key}))

    def path_of(self, name: str) -> Path:
        """Return the file of an entry."""
        return self.folder / f"{name}.safetensors"


def get_or_compute(cache: TensorCache, name: str, key: str, compute: Callable[[], Tensor]) -> Tensor:
    """Return the cached tensor if its key matches; else compute and store it."""
    cached = cache.get(name)
    if cached and cached[0] == key:
        return cached[1]["tensor"]
    tensor = compute()
    cache.put(name, key, {"tensor": tensor})
    return tensor
