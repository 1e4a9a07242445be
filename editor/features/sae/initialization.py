"""Initialization of an autoencoder: row scaling, bias and dictionary."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editor.features.sae.config import SaeConfig
from editor.features.sae.model import SparseAutoencoder

MAX_SAMPLE_ROWS = 32_768
"""Maximum number of rows that statistics are computed from."""


def initialize_sae(rows: Tensor, config: SaeConfig) -> SparseAutoencoder:
    """Return an untrained autoencoder for ``(n, width)`` rows."""
    generator = torch.Generator().manual_seed(config.seed)
    sae = SparseAutoencoder(rows.shape[1], config.latents, config.k, config.activation)
    sample = rows[torch.randperm(len(rows), generator=generator)[:MAX_SAMPLE_ROWS].sort().values].double()
    with torch.no_grad():
        if config.scaled:
            sae.mean.copy_(sample.mean(0))
            sae.scale.copy_(input_scale(sample))
        sample = (sample - sae.mean) * sae.scale
        sae.pre_bias.copy_(geometric_median(sample) if config.centre == "geometric_median" else sample.mean(0))
        sae.decoder.copy_(random_directions(config, sae.decoder.shape, generator))
        sae.encoder.copy_(sae.decoder if config.tied else kaiming_rows(sae.encoder.shape, generator))
    return sae


def input_scale(sample: Tensor) -> Tensor:
    """Return the factor that scales centered rows to a mean square norm of ``width``; 1 for rows without variance."""
    spread = (sample - sample.mean(0)).square().sum(1).mean()
    return torch.sqrt(sample.shape[1] / spread) if spread > 0 else torch.ones_like(spread)


def random_directions(config: SaeConfig, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return random unit rows."""
    rows = torch.randn(shape, generator=generator) if config.tied else kaiming_rows(shape, generator)
    return F.normalize(rows)


def kaiming_rows(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Return Kaiming-uniform rows (He et al. 2015)."""
    rows: Tensor = nn.init.kaiming_uniform_(torch.empty(shape), generator=generator)
    return rows


def geometric_median(sample: Tensor, iterations: int = 100, tolerance: float = 1e-6) -> Tensor:
    """Return the point with the smallest sum of distances to the rows, by Weiszfeld's algorithm (1937)."""
    point = sample.mean(0)
    for _ in range(iterations):
        weights = 1 / (sample - point).norm(dim=1).clamp_min(tolerance)
        moved = weights @ sample / weights.sum()
        if (moved - point).norm() <= tolerance * point.norm().clamp_min(1):
            break
        point = moved
    return point
