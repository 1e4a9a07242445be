"""How well an autoencoder reconstructs, and what its dictionary is like. All sums over rows are in float64."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.features.sae.model import CHUNK_ROWS, SparseAutoencoder

DENSE_THRESHOLD = 0.1
"""A latent active in more than this share of the rows is called dense: it tells little apart."""


@dataclass(frozen=True)
class ReconstructionMetrics:
    """On rows that the autoencoder was not trained on."""

    rows: int
    fvu: float
    """sum |x - x'|^2 / sum |x - mean|^2, the mean being that of the training rows: the share left unexplained."""
    cosine: float
    """Mean of cos(x - mean, x' - mean)."""
    l0: float
    """Mean number of active latents."""
    dead: float
    """Share of latents that are active in no row."""
    dense: float
    """Share of latents that are active in more than a tenth of the rows."""
    density: list[float]
    """Of each latent: the share of rows in which it is active."""


@torch.no_grad()
def reconstruction_metrics(sae: SparseAutoencoder, rows: Tensor, mean: Tensor | None = None) -> ReconstructionMetrics:
    """Measure on ``(n, width)`` held-out rows.

    Args:
        mean: ``(width,)`` of the training rows; null: the one that the autoencoder centres by.
    """
    centre = sae.mean if mean is None else mean
    left = spread = cosine = 0.0
    fired = torch.zeros(sae.latents, dtype=torch.int64)
    for x in torch.split(rows, CHUNK_ROWS):
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
    """Living latents by log10 of their density, from once in all rows to always: counts and the bins' edges."""
    edges = torch.linspace(-torch.log10(torch.tensor(float(rows))).item(), 0, bins + 1)
    values = torch.tensor([share for share in density if share > 0]).log10()
    counts = torch.histogram(values.clamp(float(edges[0]), 0), edges).hist
    return [int(count) for count in counts], edges.tolist()


def stability(decoder: Tensor, others: list[Tensor], alive: Tensor | None = None) -> Tensor:
    """``(latents,)``: median over other seeds of the largest cosine to a decoder row of theirs; dead latents NaN.

    Its mean over the living is what Paulo & Belrose 2025 (arXiv 2501.16615) ask: do seeds find the same features?
    """
    unit = F.normalize(decoder)
    found = torch.stack([(unit @ F.normalize(other).T).amax(1) for other in others]).median(0).values
    return found if alive is None else found.masked_fill(~alive, torch.nan)


def stable_share(decoder: Tensor, others: list[Tensor], threshold: float = 0.7) -> Tensor:
    """``(latents,)``: the share of other seeds in which a decoder row has a like of at least this cosine."""
    unit = F.normalize(decoder)
    return torch.stack([(unit @ F.normalize(other).T).amax(1) >= threshold for other in others]).double().mean(0)


def recovered_share(decoder: Tensor, truth: Tensor, threshold: float = 0.9) -> float:
    """Share of the true directions that some decoder row has, by cosine."""
    return float(((F.normalize(truth) @ F.normalize(decoder).T).amax(1) > threshold).double().mean())


def monosemanticity(activations: Tensor, embeddings: Tensor) -> Tensor:
    """``(latents,)``: mean cosine of image pairs, weighted by how strongly a latent responds to both; NaN where to none.

    Pach et al. 2025 (arXiv 2504.02821) sum over all pairs. With u = sum of a_i e_i over unit embeddings the sum over pairs is
    (|u|^2 - sum a_i^2) / 2, which needs O(n d) instead of O(n^2). Subtract ``mean_cosine`` for small n: images that have
    nothing in common are alike to some degree, too.

    Args:
        activations: ``(n, latents)``, scaled here to [0, 1] for each latent.
        embeddings: ``(n, d)`` of another encoder.
    """
    low, high = activations.amin(0), activations.amax(0)
    weights = ((activations - low) / (high - low).clamp_min(torch.finfo(activations.dtype).tiny)).double()
    towards = weights.T @ F.normalize(embeddings.double())
    squares = weights.square().sum(0)
    pairs = weights.sum(0).square() - squares
    score = (towards.square().sum(1) - squares) / pairs
    return score.masked_fill(pairs <= 1e-12, torch.nan)


def mean_pairwise_cosine(embeddings: Tensor) -> float:
    """Of all pairs of different images."""
    unit = F.normalize(embeddings.double())
    count = len(unit)
    return float((unit.sum(0).square().sum() - count) / (count * (count - 1)))


def morans_i(maps: Tensor) -> Tensor:
    """``(n, h, w)`` -> ``(n,)``: how alike neighbouring positions are (Moran 1950), diagonal ones too; float64.

    With x centred over the map, (positions / pairs) * (sum of x_i x_j over ordered pairs of neighbours) / (sum of x_i^2).
    1 is smooth, -1 a chequerboard, and values in random order have -1 / (positions - 1) on average. NaN where all are equal.
    """
    x = maps.double() - maps.double().mean((1, 2), keepdim=True)
    squares = x.square().sum((1, 2))
    found = x[0].numel() / neighbor_sums(torch.ones_like(x[:1])).sum() * (x * neighbor_sums(x)).sum((1, 2)) / squares
    return found.masked_fill(squares <= torch.finfo(maps.dtype).eps * maps.double().square().sum((1, 2)), torch.nan)


def neighbor_sums(maps: Tensor) -> Tensor:
    """``(n, h, w)``: at each position the sum of its neighbours, up to eight."""
    sums: Tensor = 9 * F.avg_pool2d(maps[:, None], 3, stride=1, padding=1)[:, 0]
    return sums - maps


@torch.no_grad()
def mean_morans_i(sae: SparseAutoencoder, rows: Tensor, grid: tuple[int, int]) -> Tensor:
    """``(latents,)``: mean over the images in which a latent's map is not flat; NaN where there is none.

    Args:
        rows: ``(images * h * w, width)``, position by position.
        grid: h, w.
    """
    total, count = (torch.zeros(sae.latents, dtype=torch.float64) for _ in range(2))
    positions = grid[0] * grid[1]
    for part in torch.split(rows, max(1, CHUNK_ROWS // positions) * positions):
        maps = sae.encode(part).reshape(-1, positions, sae.latents).transpose(1, 2)
        found = morans_i(maps.reshape(-1, *grid)).reshape(-1, sae.latents)
        total += found.nansum(0)
        count += (~found.isnan()).sum(0)
    return total / count
