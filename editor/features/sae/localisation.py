"""Is a latent active in one place of an image, or scattered over it? Moran's I of its map (ViSAEBench's M1)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.features.sae.model import CHUNK, SparseAutoencoder


def morans_i(maps: Tensor) -> Tensor:
    """``(n, h, w)`` -> ``(n,)``: how alike neighbouring positions are (Moran 1950), diagonal ones too; float64.

    With x centred over the map, (positions / pairs) * (sum of x_i x_j over ordered pairs of neighbours) / (sum of x_i^2).
    1 is smooth, -1 a chequerboard, and values in random order have -1 / (positions - 1) on average. NaN where all are equal.
    """
    x = maps.double() - maps.double().mean((1, 2), keepdim=True)
    squares = x.square().sum((1, 2))
    found = x[0].numel() / around(torch.ones_like(x[:1])).sum() * (x * around(x)).sum((1, 2)) / squares
    return found.masked_fill(squares <= torch.finfo(maps.dtype).eps * maps.double().square().sum((1, 2)), torch.nan)


def around(maps: Tensor) -> Tensor:
    """``(n, h, w)``: at each position the sum of its neighbours, up to eight."""
    sums: Tensor = 9 * F.avg_pool2d(maps[:, None], 3, stride=1, padding=1)[:, 0]
    return sums - maps


@torch.no_grad()
def localisation(sae: SparseAutoencoder, rows: Tensor, grid: tuple[int, int]) -> Tensor:
    """``(latents,)``: mean over the images in which a latent's map is not flat; NaN where there is none.

    Args:
        rows: ``(images * h * w, width)``, position by position.
        grid: h, w.
    """
    total, count = (torch.zeros(sae.latents, dtype=torch.float64) for _ in range(2))
    positions = grid[0] * grid[1]
    for part in torch.split(rows, max(1, CHUNK // positions) * positions):
        maps = sae.encode(part).reshape(-1, positions, sae.latents).transpose(1, 2)
        found = morans_i(maps.reshape(-1, *grid)).reshape(-1, sae.latents)
        total += found.nansum(0)
        count += (~found.isnan()).sum(0)
    return total / count
