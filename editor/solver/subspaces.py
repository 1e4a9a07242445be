"""Subspaces of a layer's input that an update may act on: all are orthogonal to the protected keys."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from editor.errors import SolveError

MIN_NEW_DIRECTION = 1e-6
"""Length of the part of a unit vector beyond a subspace below which the vector is in it."""
MIN_RELATIVE_PIVOT = 1e-6
"""Smallest Cholesky pivot, relative to the largest one, for which the basis is orthonormal to 1e-9."""


class Subspace(Protocol):
    """Maps keys to coordinates in a subspace, and coordinates back."""

    def project(self, keys: Tensor) -> Tensor:
        """Return the coordinates (n, q) of keys (n, d), without their component along the protected keys."""
        ...

    def lift(self, coordinates: Tensor) -> Tensor:
        """Return the vectors (r, d) of coordinates (r, q)."""
        ...


@dataclass(frozen=True)
class OrthonormalBasis:
    """A subspace given by an explicit orthonormal basis."""

    basis: Tensor
    """(d, q), orthonormal and orthogonal to the protected keys."""

    def project(self, keys: Tensor) -> Tensor:
        """Return coordinates in the basis."""
        return keys @ self.basis

    def lift(self, coordinates: Tensor) -> Tensor:
        """Return the vectors of coordinates."""
        return coordinates @ self.basis.T


@dataclass(frozen=True)
class CholeskyBasis:
    """The span of some vectors, with the orthonormal basis that their Cholesky factor implies but which is never formed."""

    vectors: Tensor
    """(n, d), orthogonal to the protected keys."""
    factor: Tensor
    """(n, n), lower factor of the vectors' inner products: their coordinates."""

    def project(self, keys: Tensor) -> Tensor:
        """Return coordinates in the basis."""
        coordinates: Tensor = torch.linalg.solve_triangular(
            self.factor.T, keys @ self.vectors.T, upper=True, left=False
        )
        return coordinates

    def lift(self, coordinates: Tensor) -> Tensor:
        """Return the vectors of coordinates."""
        combinations: Tensor = torch.linalg.solve_triangular(self.factor, coordinates, upper=False, left=False)
        return combinations @ self.vectors


@dataclass(frozen=True)
class OrthogonalComplement:
    """The orthogonal complement of the protected keys, in the layer's own dimensions."""

    protected_basis: Tensor
    """(d, m), an orthonormal basis of the protected keys."""

    def project(self, keys: Tensor) -> Tensor:
        """Remove the component along the protected keys."""
        return keys - (keys @ self.protected_basis) @ self.protected_basis.T

    def lift(self, coordinates: Tensor) -> Tensor:
        """Project again, which removes rounding errors along the protected keys."""
        return self.project(coordinates)

    def without(self, directions: Tensor) -> "OrthogonalComplement":
        """Return the part of the complement that is orthogonal to further directions (k, d) as well.

        Raises:
            SolveError: nothing is left.
        """
        left, values, _ = torch.linalg.svd(self.project(directions).T, full_matrices=False)
        basis = torch.cat([self.protected_basis, left[:, values > MIN_NEW_DIRECTION]], dim=1)
        if basis.shape[1] >= len(basis):
            raise SolveError(
                "What is retained leaves no direction to edit.",
                field="options.method",
                remedy="Use the default method, which weighs removal against preservation.",
            )
        return OrthogonalComplement(torch.linalg.qr(basis).Q)

    def project_moment(self, moment: Tensor) -> Tensor:
        """Return the second moment (d, d) of the projected keys from that of the keys. Exactly symmetric."""
        basis = self.protected_basis
        along = moment @ basis
        half = (along - basis @ (basis.T @ along) / 2) @ basis.T
        return moment - (half + half.T)


def principal_directions(moment: Tensor, threshold: float) -> Tensor:
    """Return the eigenvectors (k, d) of a second moment (d, d) whose eigenvalues exceed ``threshold`` times the mean one."""
    eigenvalues, vectors = torch.linalg.eigh(moment)
    directions: Tensor = vectors.T[eigenvalues > threshold * eigenvalues.mean()]
    return directions


def orthogonal_complement_of(protected: Tensor) -> OrthogonalComplement:
    """Return the orthogonal complement of the protected keys (m, d).

    Raises:
        SolveError: the protected keys span the whole space.
    """
    if len(protected) >= protected.shape[1]:
        raise SolveError(
            "The protected prompts leave no direction to edit.",
            field="options.pins",
            remedy="Pin fewer prompts.",
        )
    return OrthogonalComplement(torch.linalg.qr(protected.T).Q)


def basis_of_keys(unprotected: OrthogonalComplement, keys: Tensor) -> tuple[Subspace, Tensor]:
    """Return the part of the span of ``keys`` (n, d) in the complement, and the keys' coordinates in it, (n, q).

    Uses Cholesky of the keys' inner products, which takes a third of the time of Householder's QR but fails for keys that
    are nearly linear combinations of others; QR is used for those.
    """
    protected, vectors = unprotected.protected_basis, unprotected.project(keys)
    factor, failed = torch.linalg.cholesky_ex(vectors @ vectors.T)
    if failed or factor.diagonal().min() < MIN_RELATIVE_PIVOT * factor.diagonal().max():
        basis = torch.linalg.qr(torch.cat([protected, keys.T], dim=1)).Q[:, protected.shape[1] :]
        subspace = OrthonormalBasis(basis)
        return subspace, subspace.project(keys)
    return CholeskyBasis(vectors, factor), factor
