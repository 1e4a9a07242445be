"""Latents that never fire, and the loss that gives them something to do (AuxK; Gao et al. 2024, section A.2).

The sign and the target are the paper's: dead latents learn the residual x - x' itself, detached, without a bias. Several
published implementations learn its negative, or the residual plus the bias.
"""

import torch
from torch import Tensor

from editor.features.sae.model import SparseAutoencoder

MAX_AUXILIARY_K = 256


class DeadLatentTracker:
    """For each latent the rows since it last fired."""

    def __init__(self, latents: int, window: int, device: torch.device) -> None:
        self.rows_since_active, self.window = torch.zeros(latents, dtype=torch.int64, device=device), window

    def update(self, fired: Tensor, rows: int) -> None:
        """Count a batch; ``fired`` is ``(latents,)``."""
        self.rows_since_active += rows
        self.rows_since_active[fired > 0] = 0

    @property
    def dead(self) -> Tensor:
        """Indices of latents that have been silent for longer than the window."""
        return (self.rows_since_active > self.window).nonzero().flatten()


def auxiliary_loss(sae: SparseAutoencoder, x: Tensor, residual: Tensor, dead: Tensor, k: int | None) -> Tensor:
    """Share of the residual's variance that the k strongest dead latents leave unexplained; 0 when none is dead.

    Args:
        x: ``(n, width)`` normalised rows.
        residual: ``(n, width)``; no gradient flows into it.
        k: null: half of the width, but at most 256.
    """
    if not len(dead):
        return x.new_zeros(())
    wanted = k or min(sae.width // 2, MAX_AUXILIARY_K)
    taken = min(wanted, len(dead))
    pre = torch.addmm(sae.latent_bias[dead], x - sae.pre_bias.detach(), sae.encoder[dead].T)
    values, chosen = pre.topk(taken, dim=1, sorted=False)
    codes = torch.zeros_like(pre).scatter(1, chosen, values.relu())
    target = residual.detach()
    left = (target - codes @ sae.decoder[dead]).square().sum()
    loss = left / (target - target.mean(0)).square().sum() * min(len(dead) / wanted, 1.0)
    return torch.nan_to_num(loss, 0.0, 0.0, 0.0)
