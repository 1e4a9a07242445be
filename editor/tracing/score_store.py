"""The scores of a trace by sample and site, saved after every batch so that an interrupted trace can continue."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from editor.io.atomic import write_bytes
from editor.io.progress import ProgressCallback

CLEAN, CORRUPTED = 0, 1
"""Columns of the clean and the corrupted run."""
SITE_OFFSET = 2
"""Site ``i`` has column ``i + SITE_OFFSET``."""
Cell = tuple[int, int]
"""Sample and column."""


@dataclass(frozen=True)
class ScoreMatrix:
    """Scores ``(samples, SITE_OFFSET + sites)`` in float64; NaN where a score is missing."""

    scores: Tensor
    path: Path | None = None
    fingerprint: str = ""

    def missing(self, cells: Sequence[Cell]) -> list[Cell]:
        """Return the cells without a score."""
        return [cell for cell in cells if self.scores[cell].isnan()]

    def put(self, cells: Sequence[Cell], scores: Tensor) -> None:
        """Enter the scores of a batch, and save the matrix if it has a path."""
        rows, columns = zip(*cells, strict=True)
        self.scores[list(rows), list(columns)] = scores.to(self.scores)
        if self.path:
            write_bytes(self.path, save({"scores": self.scores}, {"fingerprint": self.fingerprint}))


def open_score_matrix(samples: int, sites: int, path: Path | None = None, fingerprint: str = "") -> ScoreMatrix:
    """Load the matrix at ``path`` if it belongs to the same trace; else start with an empty one."""
    saved = load_scores(path, fingerprint) if path and path.is_file() else None
    empty = torch.full((samples, SITE_OFFSET + sites), float("nan"), dtype=torch.float64)
    return ScoreMatrix(empty if saved is None else saved, path, fingerprint)


def load_scores(path: Path, fingerprint: str) -> Tensor | None:
    """Load the scores of the trace with this fingerprint; return None for another trace or a damaged file."""
    try:
        with safe_open(path, "pt") as file:
            same = (file.metadata() or {}).get("fingerprint") == fingerprint
            return file.get_tensor("scores") if same else None
    except SafetensorError:
        return None


def fill_scores(
    matrix: ScoreMatrix,
    cells: Sequence[Cell],
    batch_size: int,
    score: Callable[[Sequence[Cell]], Tensor],
    progress: ProgressCallback,
) -> None:
    """Score the missing cells in batches. If ``progress`` raises, the finished batches stay."""
    missing = matrix.missing(cells)
    done = len(cells) - len(missing)
    for start in range(0, len(missing), batch_size):
        batch = missing[start : start + batch_size]
        matrix.put(batch, score(batch))
        done += len(batch)
        progress(done / len(cells))
