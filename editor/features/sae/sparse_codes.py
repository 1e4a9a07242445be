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
class Code:
    """``rows`` x ``count`` values, all but the listed ones zero, in the order of the rows."""

    offsets: Tensor
    """``(rows,)``: where the row's entries begin."""
    latents: Tensor
    """``(entries,)``."""
    values: Tensor
    """``(entries,)``, not negative."""
    count: int
    """Latents in all."""

    @property
    def rows(self) -> Tensor:
        """``(entries,)``: the row of each."""
        lengths = torch.diff(self.offsets, append=self.offsets.new_tensor([len(self.latents)]))
        return torch.repeat_interleave(torch.arange(len(self.offsets), device=lengths.device), lengths)

    def dense(self) -> Tensor:
        """``(rows, count)``."""
        zeros = self.values.new_zeros(len(self.offsets), self.count)
        return zeros.index_put((self.rows, self.latents), self.values)

    def fired(self) -> Tensor:
        """``(count,)``: rows in which each latent is active."""
        return torch.bincount(self.latents[self.values > 0], minlength=self.count)

    def times(self, matrix: Tensor) -> Tensor:
        """``code @ matrix``: ``(count, d)`` -> ``(rows, d)``."""
        return bags(self.latents, self.offsets, self.values, matrix)

    @cached_property
    def by_latent(self) -> Tensor:
        """``(entries,)``: the entries in the order of their latents."""
        return self.latents.argsort(stable=True)

    def transposed(self, values: Tensor | None = None) -> "Code":
        """Rows and latents exchanged; with other ``values`` in the same places, if given."""
        counts = torch.bincount(self.latents, minlength=self.count)
        own = self.values if values is None else values
        return Code(counts.cumsum(0) - counts, self.rows[self.by_latent], own[self.by_latent], len(self.offsets))


def bags(members: Tensor, offsets: Tensor, weights: Tensor, matrix: Tensor) -> Tensor:
    """For each bag the weighted sum of the matrix's rows that it names."""
    return F.embedding_bag(members, matrix, offsets, mode="sum", per_sample_weights=weights)


def top_k(pre: Tensor, k: int) -> Code:
    """The k largest of each row of ``(rows, latents)``; negative ones count as zero."""
    values, latents = pre.topk(k, dim=1, sorted=False)
    offsets = torch.arange(0, latents.numel(), k, device=pre.device)
    return Code(
        offsets,
        latents.flatten(),
        values.flatten().to(torch.promote_types(pre.dtype, torch.float32)).relu(),
        pre.shape[1],
    )


def batch_top_k(pre: Tensor, k: int) -> Code:
    """The k * rows largest of all: rows share what they need (Bussmann et al. 2024, arXiv 2412.06410)."""
    chosen = pre.flatten().topk(k * len(pre), sorted=False).indices.sort().values
    return chosen_entries(pre, chosen)


def above(pre: Tensor, threshold: Tensor) -> Code:
    """All that are larger than their latent's threshold, ``(latents,)``."""
    return chosen_entries(pre, (pre > threshold).flatten().nonzero().flatten())


def chosen_entries(pre: Tensor, chosen: Tensor) -> Code:
    """The entries at ascending flat positions."""
    rows, latents = chosen // pre.shape[1], chosen % pre.shape[1]
    lengths = torch.bincount(rows, minlength=len(pre))
    values = pre.flatten()[chosen].to(torch.promote_types(pre.dtype, torch.float32)).relu()
    return Code(lengths.cumsum(0) - lengths, latents, values, pre.shape[1])
