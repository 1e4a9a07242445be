"""Low-rank factors of a weight update."""

import torch
from torch import Tensor

MIN_GRAM_TOLERANCE = 1e-6
"""Smallest truncation tolerance for which the singular values of the Gram matrix are accurate enough."""
MIN_SINGULAR_VALUE = 1e-300


def low_rank_factors(matrix: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return balanced factors ``up @ down`` of the smallest rank that is accurate enough.

    Args:
        matrix: (out, in).
        tolerance: relative Frobenius norm of the part that may be left out.
    """
    svd = svd_of_gram(matrix) if tolerance >= MIN_GRAM_TOLERANCE else torch.linalg.svd(matrix, full_matrices=False)
    up, values, down = svd
    missing = values.square().flip(0).cumsum(0).flip(0).sqrt()
    rank = int((missing > tolerance * missing[:1]).sum())
    root = values[:rank].sqrt()
    return (up[:, :rank] * root).contiguous(), (root[:, None] * down[:rank]).contiguous()


def svd_of_gram(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the singular value decomposition from the eigenvectors of the smaller Gram matrix, in half the time.

    Singular values below 1e-8 of the largest one are lost to rounding.
    """
    if len(matrix) > matrix.shape[1]:
        left, values, right = svd_of_gram(matrix.T)
        return right.T, values, left.T
    squares, vectors = torch.linalg.eigh(matrix @ matrix.T)
    values, left = squares.clamp(min=0).sqrt().flip(0), vectors.flip(1)
    return left, values, (left.T @ matrix) / values.clamp(min=MIN_SINGULAR_VALUE)[:, None]
