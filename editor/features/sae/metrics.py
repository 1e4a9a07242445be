"""Metrics of an autoencoder: reconstruction, stability, monosemanticity, localization. Sums over rows are in float64."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.features.sae.model import CHUNK_ROWS, SparseAutoencoder
from editor.io.progress import checked

DENSE_THRESHOLD = 0.1
"""A latent that is active in more than this share of the rows is called dense; it discriminates little."""


@dataclass(frozen=True)
class ReconstructionMetrics:
    """Reconstruction metrics on held-out rows."""

    rows: int
    fvu: float
    """Fraction of variance unexplained: sum |x - x'|^2 / sum |x - mean|^2, with the mean of the training rows."""
    cosine: float
    """Mean of cos(x - mean, x' - mean)."""
    l0: float
    """Mean number of active latents per row."""
    dead: float
    """Share of latents that are never active."""
    dense: float
    """Share of latents that are active in more than a tenth of the rows."""
    density: list[float]
    """Share of rows in which each latent is active."""


@torch.no_grad()
def reconstruction_metrics(sae: SparseAutoencoder, rows: Tensor, mean: Tensor | None = None) -> ReconstructionMetrics:
    """Measure on ``(n, width)`` held-out rows.

    Args:
        mean: ``(width,)`` mean of the training rows; None: the mean that the autoencoder subtracts.
    """
    centre = sae.mean if mean is None else mean
    left = spread = cosine = 0.0
    fired = torch.zeros(sae.latents, dtype=torch.int64)
    for x in checked(torch.split(rows, CHUNK_ROWS)):
        x = x.to(sae.mean)
        code = sae.encode_sparse(x)
        output = sae.denormalize(code.matmul(sae.decoder))
        left += float((x - output).double().square().sum())
        spread += float((x - centre).double().square().sum())
        cosine += float(F.cosine_similarity(x - centre, output - centre, dim=1).double().sum())
        fired += code.firing_counts()
    density = fired.double() / len(rows)
    return ReconstructionMetrics(
        rows=len(rows),
        fvu=left / spread,
        cosine=cosine / len(rows),
        l0=int(fired.sum()) / len(rows),
        dead=float((fired == 0).double().mean()),
        dense=float((density > DENSE_THRESHOLD).double().mean()),
        density=density.tolist(),
    )


def density_histogram(density: list[float], rows: int, bins: int = 24) -> tuple[list[int], list[float]]:
    """Return a histogram of log10 density, from one in ``rows`` to 1, without dead latents: counts and bin edges."""
    edges = torch.linspace(-torch.log10(torch.tensor(float(rows))).item(), 0, bins + 1)
    values = torch.tensor([share for share in density if share > 0]).log10()
    counts = torch.histogram(values.clamp(float(edges[0]), 0), edges).hist
    return [int(count) for count in counts], edges.tolist()


def stability(decoder: Tensor, others: list[Tensor], alive: Tensor | None = None) -> Tensor:
    """Return the median over other seeds of the largest cosine to a decoder row, ``(latents,)``; NaN for dead latents.

    The mean over live latents answers whether seeds find the same features (Paulo & Belrose 2025, arXiv 2501.16615).
    """
    unit = F.normalize(decoder)
    cosine = torch.stack([(unit @ F.normalize(other).T).amax(1) for other in others]).median(0).values
    return cosine if alive is None else cosine.masked_fill(~alive, torch.nan)


def stable_share(decoder: Tensor, others: list[Tensor], threshold: float = 0.7) -> Tensor:
    """Return the share of other seeds with a decoder row of at least this cosine, ``(latents,)``."""
    unit = F.normalize(decoder)
    return torch.stack([(unit @ F.normalize(other).T).amax(1) >= threshold for other in others]).double().mean(0)


def recovered_share(decoder: Tensor, truth: Tensor, threshold: float = 0.9) -> float:
    """Return the share of true directions that match a decoder row by cosine."""
    return float(((F.normalize(truth) @ F.normalize(decoder).T).amax(1) > threshold).double().mean())


def monosemanticity(activations: Tensor, embeddings: Tensor) -> Tensor:
    """Return the mean cosine of image pairs, weighted by the latent's activations on both, ``(latents,)``; NaN without pairs.

    Pach et al. 2025 (arXiv 2504.02821) sum over all pairs. With u = sum of a_i e_i over unit embeddings, the sum over pairs
    is (|u|^2 - sum a_i^2) / 2, in O(n d) instead of O(n^2). For small n, compare with ``mean_pairwise_cosine``, the value
    for unrelated images.

    Args:
        activations: ``(n, latents)``; rescaled to [0, 1] per latent.
        embeddings: ``(n, d)``, from an independent encoder.
    """
    low, high = activations.amin(0), activations.amax(0)
    weights = ((activations - low) / (high - low).clamp_min(torch.finfo(activations.dtype).tiny)).double()
    towards = weights.T @ F.normalize(embeddings.double())
    squares = weights.square().sum(0)
    pairs = weights.sum(0).square() - squares
    score = (towards.square().sum(1) - squares) / pairs
    return score.masked_fill(pairs <= 1e-12, torch.nan)


def mean_pairwise_cosine(embeddings: Tensor) -> float:
    """Return the mean cosine of all pairs of different images."""
    unit = F.normalize(embeddings.double())
    count = len(unit)
    return float((unit.sum(0).square().sum() - count) / (count * (count - 1)))


def morans_i(maps: Tensor) -> Tensor:
    """Return Moran's I (1950) of ``(n, h, w)`` maps over all eight neighbors, ``(n,)`` float64; NaN for constant maps.

    With x centered over the map, it is (positions / pairs) * (sum of x_i x_j over ordered pairs of neighbors) /
    (sum of x_i^2): 1 for smooth maps, -1 for a checkerboard, and -1 / (positions - 1) on average for random order.
    """
    x = maps.double() - maps.double().mean((1, 2), keepdim=True)
    squares = x.square().sum((1, 2))
    ratio = x[0].numel() / neighbor_sums(torch.ones_like(x[:1])).sum() * (x * neighbor_sums(x)).sum((1, 2)) / squares
    return ratio.masked_fill(squares <= torch.finfo(maps.dtype).eps * maps.double().square().sum((1, 2)), torch.nan)


def neighbor_sums(maps: Tensor) -> Tensor:
    """Return the sum of up to eight neighbors at each position, ``(n, h, w)``."""
    sums: Tensor = 9 * F.avg_pool2d(maps[:, None], 3, stride=1, padding=1)[:, 0]
    return sums - maps


@torch.no_grad()
def mean_morans_i(sae: SparseAutoencoder, rows: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return Moran's I of each latent's maps, averaged over images, ``(latents,)``; NaN for latents with constant maps only.

    Args:
        rows: ``(images * h * w, width)``, in row-major order.
        grid: (h, w).
    """
    total, count = (torch.zeros(sae.latents, dtype=torch.float64) for _ in range(2))
    positions = grid[0] * grid[1]
    for part in checked(torch.split(rows, max(1, CHUNK_ROWS // positions) * positions)):
        maps = sae.encode(part).reshape(-1, positions, sae.latents).transpose(1, 2)
        values = morans_i(maps.reshape(-1, *grid)).reshape(-1, sae.latents)
        total += values.nansum(0)
        count += (~values.isnan()).sum(0)
    return total / count
