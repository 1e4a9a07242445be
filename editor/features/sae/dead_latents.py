"""Dead latents, and the auxiliary loss that revives them (AuxK; Gao et al. 2024, section A.2).

As in the paper, dead latents learn the residual x - x' itself, detached and without a bias. Several published
implementations learn its negative, or the residual plus the bias.
"""

import torch
from torch import Tensor

from editor.features.sae.model import SparseAutoencoder

MAX_AUXILIARY_K = 256


class DeadLatentTracker:
    """Tracks the number of rows since each latent was last active."""

    def __init__(self, latents: int, window: int, device: torch.device) -> None:
        self.rows_since_active, self.window = torch.zeros(latents, dtype=torch.int64, device=device), window

    def update(self, fired: Tensor, rows: int) -> None:
        """Count a batch of ``rows``; ``fired`` ``(latents,)`` are the activation counts in it."""
        self.rows_since_active += rows
        self.rows_since_active[fired > 0] = 0

    @property
    def dead(self) -> Tensor:
        """Indices of the latents that have been inactive for longer than the window."""
        return (self.rows_since_active > self.window).nonzero().flatten()


def auxiliary_loss(sae: SparseAutoencoder, x: Tensor, residual: Tensor, dead: Tensor, k: int | None) -> Tensor:
    """Return the fraction of the residual's variance left unexplained by the k strongest dead latents; 0 if none is dead.

    Args:
        x: ``(n, width)`` normalized rows.
        residual: ``(n, width)``; detached.
        dead: indices of dead latents.
        k: None: half of the width, at most 256.
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
