"""Sparse codes: which latents are active in each row, and how strongly.

Every product with a code is a weighted sum over bags of rows, for which ``embedding_bag`` has fast kernels on CPUs and
GPUs: a row costs k vectors, however many latents there are.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SparseCode:
    """``rows`` x ``count`` values, all but the listed ones zero, in the order of the rows."""

    offsets: Tensor
    """``(rows,)``: where the row's entries begin."""
    latents: Tensor
    """``(entries,)``."""
    values: Tensor
    """``(entries,)``, not negative."""
    latent_count: int
    """Latents in all."""

    @property
    def row_indices(self) -> Tensor:
        """``(entries,)``: the row of each."""
        lengths = torch.diff(self.offsets, append=self.offsets.new_tensor([len(self.latents)]))
        return torch.repeat_interleave(torch.arange(len(self.offsets), device=lengths.device), lengths)

    def dense(self) -> Tensor:
        """``(rows, count)``."""
        zeros = self.values.new_zeros(len(self.offsets), self.latent_count)
        return zeros.index_put((self.row_indices, self.latents), self.values)

    def firing_counts(self) -> Tensor:
        """``(count,)``: rows in which each latent is active."""
        return torch.bincount(self.latents[self.values > 0], minlength=self.latent_count)

    def matmul(self, matrix: Tensor) -> Tensor:
        """``code @ matrix``: ``(count, d)`` -> ``(rows, d)``."""
        return bag_sums(self.latents, self.offsets, self.values, matrix)

    @cached_property
    def latent_order(self) -> Tensor:
        """``(entries,)``: the entries in the order of their latents."""
        return self.latents.argsort(stable=True)

    def transpose(self, values: Tensor | None = None) -> "SparseCode":
        """Rows and latents exchanged; with other ``values`` in the same places, if given."""
        counts = torch.bincount(self.latents, minlength=self.latent_count)
        own = self.values if values is None else values
        return SparseCode(
            counts.cumsum(0) - counts, self.row_indices[self.latent_order], own[self.latent_order], len(self.offsets)
        )


def bag_sums(members: Tensor, offsets: Tensor, weights: Tensor, matrix: Tensor) -> Tensor:
    """For each bag the weighted sum of the matrix's rows that it names."""
    return F.embedding_bag(members, matrix, offsets, mode="sum", per_sample_weights=weights)


def top_k(pre: Tensor, k: int) -> SparseCode:
    """The k largest of each row of ``(rows, latents)``; negative ones count as zero."""
    values, latents = pre.topk(k, dim=1, sorted=False)
    offsets = torch.arange(0, latents.numel(), k, device=pre.device)
    return SparseCode(
        offsets,
        latents.flatten(),
        values.flatten().to(torch.promote_types(pre.dtype, torch.float32)).relu(),
        pre.shape[1],
    )


def batch_top_k(pre: Tensor, k: int) -> SparseCode:
    """The k * rows largest of all: rows share what they need (Bussmann et al. 2024, arXiv 2412.06410)."""
    chosen = pre.flatten().topk(k * len(pre), sorted=False).indices.sort().values
    return entries_at(pre, chosen)


def above_threshold(pre: Tensor, threshold: Tensor) -> SparseCode:
    """All that are larger than their latent's threshold, ``(latents,)``."""
    return entries_at(pre, (pre > threshold).flatten().nonzero().flatten())


def entries_at(pre: Tensor, chosen: Tensor) -> SparseCode:
    """The entries at ascending flat positions."""
    rows, latents = chosen // pre.shape[1], chosen % pre.shape[1]
    lengths = torch.bincount(rows, minlength=len(pre))
    values = pre.flatten()[chosen].to(torch.promote_types(pre.dtype, torch.float32)).relu()
    return SparseCode(lengths.cumsum(0) - lengths, latents, values, pre.shape[1])
