"""Sparse codes: the active latents of each row and their values.

A product with a code is a weighted sum over bags of rows, for which ``embedding_bag`` has fast kernels on CPU and GPU: the
cost per row is k vectors, independent of the number of latents.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SparseCode:
    """A sparse matrix ``(rows, latent_count)`` in row order (CSR), with non-negative values."""

    offsets: Tensor
    """``(rows,)``: index of each row's first entry."""
    latents: Tensor
    """``(entries,)``: latent index of each entry."""
    values: Tensor
    """``(entries,)``, non-negative."""
    latent_count: int
    """Number of latents, active or not."""

    @property
    def row_indices(self) -> Tensor:
        """``(entries,)``: row index of each entry."""
        lengths = torch.diff(self.offsets, append=self.offsets.new_tensor([len(self.latents)]))
        return torch.repeat_interleave(torch.arange(len(self.offsets), device=lengths.device), lengths)

    def dense(self) -> Tensor:
        """Return the dense matrix ``(rows, latent_count)``."""
        zeros = self.values.new_zeros(len(self.offsets), self.latent_count)
        return zeros.index_put((self.row_indices, self.latents), self.values)

    def firing_counts(self) -> Tensor:
        """Count the rows in which each latent is active, ``(latent_count,)``."""
        return torch.bincount(self.latents[self.values > 0], minlength=self.latent_count)

    def matmul(self, matrix: Tensor) -> Tensor:
        """Return ``code @ matrix``, ``(rows, d)``, for a ``(latent_count, d)`` matrix."""
        return bag_sums(self.latents, self.offsets, self.values, matrix)

    @cached_property
    def latent_order(self) -> Tensor:
        """``(entries,)``: the permutation that sorts entries by latent."""
        return self.latents.argsort(stable=True)

    def transpose(self, values: Tensor | None = None) -> "SparseCode":
        """Return the transpose; ``values`` replaces the values at the same entries."""
        counts = torch.bincount(self.latents, minlength=self.latent_count)
        entries = self.values if values is None else values
        return SparseCode(
            counts.cumsum(0) - counts,
            self.row_indices[self.latent_order],
            entries[self.latent_order],
            len(self.offsets),
        )


def bag_sums(members: Tensor, offsets: Tensor, weights: Tensor, matrix: Tensor) -> Tensor:
    """Return for each bag the weighted sum of the matrix rows that are its members."""
    return F.embedding_bag(members, matrix, offsets, mode="sum", per_sample_weights=weights)


def top_k(pre: Tensor, k: int) -> SparseCode:
    """Select the k largest values of each row of ``(rows, latents)``, followed by ReLU."""
    values, latents = pre.topk(k, dim=1, sorted=False)
    offsets = torch.arange(0, latents.numel(), k, device=pre.device)
    return SparseCode(
        offsets,
        latents.flatten(),
        values.flatten().to(torch.promote_types(pre.dtype, torch.float32)).relu(),
        pre.shape[1],
    )


def batch_top_k(pre: Tensor, k: int) -> SparseCode:
    """Select the k * rows largest values of the batch (BatchTopK; Bussmann et al. 2024, arXiv 2412.06410)."""
    chosen = pre.flatten().topk(k * len(pre), sorted=False).indices.sort().values
    return entries_at(pre, chosen)


def above_threshold(pre: Tensor, threshold: Tensor) -> SparseCode:
    """Select all values above their latent's threshold, ``(latents,)``."""
    return entries_at(pre, (pre > threshold).flatten().nonzero().flatten())


def entries_at(pre: Tensor, chosen: Tensor) -> SparseCode:
    """Return the code of the entries at ascending flat indices of ``pre``."""
    rows, latents = chosen // pre.shape[1], chosen % pre.shape[1]
    lengths = torch.bincount(rows, minlength=len(pre))
    values = pre.flatten()[chosen].to(torch.promote_types(pre.dtype, torch.float32)).relu()
    return SparseCode(lengths.cumsum(0) - lengths, latents, values, pre.shape[1])
