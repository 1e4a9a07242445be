"""The directions of a layer's input that an update may act on: all that are orthogonal to the protected keys."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from editor.errors import SolveError

APART = 1e-6
"""How far, relatively, keys must be from the span of others for the basis to be orthonormal to 1e-9."""


class Directions(Protocol):
    """Coordinates of keys, and the way back."""

    def places(self, keys: Tensor) -> Tensor:
        """(n, d) -> (n, q), without what lies along the protected keys."""
        ...

    def lift(self, rows: Tensor) -> Tensor:
        """(r, q) -> (r, d)."""
        ...


@dataclass(frozen=True)
class Span:
    """Those in a span."""

    basis: Tensor
    """(d, q), orthonormal and orthogonal to the protected keys."""

    def places(self, keys: Tensor) -> Tensor:
        """Coordinates in the basis."""
        return keys @ self.basis

    def lift(self, rows: Tensor) -> Tensor:
        """Vectors with some coordinates."""
        return rows @ self.basis.T


@dataclass(frozen=True)
class Combinations:
    """Those in the span of free keys, by their orthonormal basis that Cholesky gives; the basis itself is never formed."""

    free: Tensor
    """(n, d), orthogonal to the protected keys."""
    factor: Tensor
    """(n, n), lower, of the free keys' inner products: their coordinates."""

    def places(self, keys: Tensor) -> Tensor:
        """Coordinates in the basis."""
        places: Tensor = torch.linalg.solve_triangular(self.factor.T, keys @ self.free.T, upper=True, left=False)
        return places

    def lift(self, rows: Tensor) -> Tensor:
        """Vectors with some coordinates."""
        combined: Tensor = torch.linalg.solve_triangular(self.factor, rows, upper=False, left=False)
        return combined @ self.free


@dataclass(frozen=True)
class Beyond:
    """All of them, in the layer's own dimensions."""

    fixed: Tensor
    """(d, m), an orthonormal basis of the protected keys."""

    def places(self, keys: Tensor) -> Tensor:
        """The orthogonal part."""
        return keys - (keys @ self.fixed) @ self.fixed.T

    def lift(self, rows: Tensor) -> Tensor:
        """The orthogonal part again: rounding errors along the protected keys don't stay."""
        return self.places(rows)

    def moment(self, keys: Tensor) -> Tensor:
        """The second moment (d, d) of keys' places, from that of the keys; symmetric to the bit."""
        along = keys @ self.fixed
        half = (along - self.fixed @ (self.fixed.T @ along) / 2) @ self.fixed.T
        return keys - (half + half.T)


def beyond(protected: Tensor) -> Beyond:
    """All directions but those of the protected keys (m, d).

    Raises:
        SolveError: none is left.
    """
    if len(protected) >= protected.shape[1]:
        raise SolveError("The protected prompts leave no direction to edit.", field="options.pins", remedy="Pin fewer.")
    return Beyond(torch.linalg.qr(protected.T).Q)


def spanned(free: Beyond, keys: Tensor) -> tuple[Directions, Tensor]:
    """The directions that with the protected keys span ``keys`` (n, d), and the places of these, (n, q).

    By Cholesky of the keys' inner products, which takes a third of the time of Householder's QR but can't tell keys that
    are nearly combinations of others; those are left to QR.
    """
    fixed, apart = free.fixed, free.places(keys)
    places, failed = torch.linalg.cholesky_ex(apart @ apart.T)
    if failed or places.diagonal().min() < APART * places.diagonal().max():
        span = Span(torch.linalg.qr(torch.cat([fixed, keys.T], dim=1)).Q[:, fixed.shape[1] :])
        return span, span.places(keys)
    return Combinations(apart, places), places
