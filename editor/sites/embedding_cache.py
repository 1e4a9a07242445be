"""What enters the first layer, projected once: before it a token's state depends on the token and its position alone."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

Make = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass
class Table:
    """Distinct (token, position) rows that were met so far, by a code that names both. Grows; rows stay where they are."""

    places: dict[int, int] = field(default_factory=dict)
    """Code -> row."""
    values: Tensor | None = None
    """(rows, d), the residual stream."""
    projected: Tensor | None = None
    """(rows, 3 d), queries, keys and values."""

    def rows(self, codes: Tensor, make: Make) -> Tensor:
        """The rows of distinct codes (n,); those not met before are made: codes (m,) -> ``(m, d)`` and ``(m, 3 d)``."""
        wanted = codes.tolist()
        new = [code for code in wanted if code not in self.places]
        if new:
            self.append(new, *make(torch.tensor(new)))
        return torch.tensor([self.places[code] for code in wanted])

    def append(self, codes: list[int], values: Tensor, projected: Tensor) -> None:
        """More rows."""
        first = len(self.places)
        self.places.update(zip(codes, range(first, first + len(codes)), strict=True))
        self.values = values if self.values is None else torch.cat([self.values, values])
        self.projected = projected if self.projected is None else torch.cat([self.projected, projected])

    def adopt(self, other: "Table") -> None:
        """Begin with the rows of a table that is computed more exactly, rounded."""
        if not self.places and other.values is not None and other.projected is not None:
            self.append(list(other.places), other.values.float(), other.projected.float())

    def fork(self) -> "Table":
        """One that holds the same and grows by itself."""
        return replace(self, places=dict(self.places))
