"""What a ledger remembers between solves: tensors that are costly to make, each with the key that it was made for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from editor.io.atomic import write_bytes

Tensors = Mapping[str, Tensor]


class Memory(Protocol):
    """Where tensors are remembered by name."""

    def recall(self, name: str) -> tuple[str, Tensors] | None:
        """The key and the tensors that were kept last, if any."""
        ...

    def keep(self, name: str, key: str, tensors: Tensors) -> None:
        """In place of what was kept by that name."""
        ...


class Forgetful:
    """Remembers nothing."""

    def recall(self, name: str) -> None:
        """Nothing."""

    def keep(self, name: str, key: str, tensors: Tensors) -> None:
        """Let go."""


FORGETFUL = Forgetful()


@dataclass(frozen=True)
class FolderMemory:
    """One safetensors file for each name; a damaged one counts as none."""

    folder: Path

    def recall(self, name: str) -> tuple[str, Tensors] | None:
        """Read a file back."""
        try:
            with safe_open(self.path(name), "pt") as file:
                return file.metadata()["key"], {part: file.get_tensor(part) for part in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError, KeyError, TypeError):
            return None

    def keep(self, name: str, key: str, tensors: Tensors) -> None:
        """Write it, all or nothing."""
        write_bytes(self.path(name), save(dict(tensors), metadata={"key": key}))

    def path(self, name: str) -> Path:
        """The file of a name."""
        return self.folder / f"{name}.safetensors"


def remembered(memory: Memory, name: str, key: str, make: Callable[[], Tensor]) -> Tensor:
    """What was kept for this very key, or made now and kept."""
    known = memory.recall(name)
    if known and known[0] == key:
        return known[1]["tensor"]
    made = make()
    memory.keep(name, key, {"tensor": made})
    return made
