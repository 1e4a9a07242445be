"""What a trace has measured so far: one score for each sample and site, kept on disk after every batch."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from editor.io.atomic import write_bytes
from editor.io.progress import ProgressCallback

CLEAN, CORRUPTED = 0, 1
"""The first two columns; site ``i`` is column ``i + OFFSET``."""
OFFSET = 2
Cell = tuple[int, int]
"""Sample and column."""


@dataclass(frozen=True)
class Values:
    """Scores ``(samples, OFFSET + sites)``, float64; NaN where nothing is measured (yet)."""

    scores: Tensor
    path: Path | None = None
    fingerprint: str = ""

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """The cells that are still to be measured."""
        return [cell for cell in cells if self.scores[cell].isnan()]

    def put(self, cells: Sequence[Cell], scores: Tensor) -> None:
        """Enter a batch, and keep it."""
        rows, columns = zip(*cells, strict=True)
        self.scores[list(rows), list(columns)] = scores.to(self.scores)
        if self.path:
            write_bytes(self.path, save({"scores": self.scores}, {"fingerprint": self.fingerprint}))


def open_values(samples: int, sites: int, path: Path | None = None, fingerprint: str = "") -> Values:
    """Go on with what lies at ``path`` if it belongs to the same trace, else start afresh."""
    kept = read(path, fingerprint) if path and path.is_file() else None
    empty = torch.full((samples, OFFSET + sites), float("nan"), dtype=torch.float64)
    return Values(empty if kept is None else kept, path, fingerprint)


def read(path: Path, fingerprint: str) -> Tensor | None:
    """The scores of the trace with this fingerprint; None for another's, or for a damaged file."""
    try:
        with safe_open(path, "pt") as file:
            same = (file.metadata() or {}).get("fingerprint") == fingerprint
            return file.get_tensor("scores") if same else None
    except SafetensorError:
        return None


def measure(
    values: Values, cells: Sequence[Cell], batch: int, score: Callable[[Sequence[Cell]], Tensor], tick: ProgressCallback
) -> None:
    """Score what is missing, batch after batch. ``tick`` may raise: what is finished stays."""
    todo = values.missing(cells)
    done = len(cells) - len(todo)
    for part in parts(todo, batch):
        values.put(part, score(part))
        done += len(part)
        tick(done / len(cells))


def parts(cells: Sequence[Cell], size: int) -> Iterator[Sequence[Cell]]:
    """Neighbours together, ``size`` at most."""
    return (cells[start : start + size] for start in range(0, len(cells), size))
