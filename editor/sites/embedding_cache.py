"""A cache of the first layer's input. Before attention, a hidden state depends only on its token and its position."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

ComputeRows = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass
class GrowingRows:
    """Rows that are only ever appended, in memory that doubles when it is full, so that a few more rows cost little."""

    rows: Tensor
    """(n, d)."""
    memory: Tensor
    """(capacity, d); its first rows are :attr:`rows`."""

    @classmethod
    def of(cls, rows: Tensor) -> "GrowingRows":
        """Return rows without spare memory: the first append copies them, and leaves the given tensor alone."""
        return cls(rows, rows)

    def append(self, more: Tensor) -> None:
        """Append rows. Tensors that were taken from :attr:`rows` before stay as they are."""
        first, last = len(self.rows), len(self.rows) + len(more)
        if last > len(self.memory):
            self.memory = self.rows.new_empty(2 * last, self.rows.shape[1])
            self.memory[:first] = self.rows
        self.memory[first:last] = more
        self.rows = self.memory[:last]


@dataclass
class EmbeddingCache:
    """Hidden states and their projections for the (token, position) codes seen so far. Rows are only ever appended."""

    row_of_code: dict[int, int] = field(default_factory=dict)
    states: GrowingRows | None = None
    projections: GrowingRows | None = None

    @property
    def hidden(self) -> Tensor | None:
        """The residual stream, (rows, d)."""
        return self.states.rows if self.states else None

    @property
    def qkv(self) -> Tensor | None:
        """Queries, keys and values, (rows, 3 d)."""
        return self.projections.rows if self.projections else None

    def get_rows(self, codes: Tensor, compute: ComputeRows) -> Tensor:
        """Return the row of each distinct code, (n,), computing the missing ones.

        Args:
            codes: (n,), each a (token, position) pair as one integer.
            compute: maps codes (m,) to hidden states (m, d) and their queries, keys and values (m, 3 d).
        """
        wanted = codes.tolist()
        missing = [code for code in wanted if code not in self.row_of_code]
        if missing:
            self.append(missing, *compute(torch.tensor(missing)))
        return torch.tensor([self.row_of_code[code] for code in wanted])

    def append(self, codes: list[int], hidden: Tensor, qkv: Tensor) -> None:
        """Append rows."""
        first = len(self.row_of_code)
        self.row_of_code.update(zip(codes, range(first, first + len(codes)), strict=True))
        if self.states is None or self.projections is None:
            self.states, self.projections = GrowingRows.of(hidden), GrowingRows.of(qkv)
            return
        self.states.append(hidden)
        self.projections.append(qkv)

    def seed_from(self, other: "EmbeddingCache") -> None:
        """If empty, copy the rows of a float64 cache, rounded to float32."""
        if not self.row_of_code and other.hidden is not None and other.qkv is not None:
            self.append(list(other.row_of_code), other.hidden.float(), other.qkv.float())

    def fork(self) -> "EmbeddingCache":
        """Return a copy that grows independently."""
        forked = EmbeddingCache()
        if self.hidden is not None and self.qkv is not None:
            forked.append(list(self.row_of_code), self.hidden, self.qkv)
        return forked
