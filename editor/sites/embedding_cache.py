"""A cache of the first layer's input. Before attention, a hidden state depends only on its token and its position."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

ComputeRows = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass
class EmbeddingCache:
    """Hidden states and their projections for the (token, position) codes seen so far. Rows are only ever appended."""

    row_of_code: dict[int, int] = field(default_factory=dict)
    hidden: Tensor | None = None
    """(rows, d), the residual stream."""
    qkv: Tensor | None = None
    """(rows, 3 d), queries, keys and values."""

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
        self.hidden = hidden if self.hidden is None else torch.cat([self.hidden, hidden])
        self.qkv = qkv if self.qkv is None else torch.cat([self.qkv, qkv])

    def seed_from(self, other: "EmbeddingCache") -> None:
        """If empty, copy the rows of a float64 cache, rounded to float32."""
        if not self.row_of_code and other.hidden is not None and other.qkv is not None:
            self.append(list(other.row_of_code), other.hidden.float(), other.qkv.float())

    def fork(self) -> "EmbeddingCache":
        """Return a copy that grows independently."""
        return replace(self, row_of_code=dict(self.row_of_code))
