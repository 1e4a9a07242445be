"""The k-sparse autoencoder as it is usually written: dense products in float32, and Adam."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editor.features.sae.config import SaeConfig


class PlainAutoencoder(nn.Module):
    """Tied start, unit decoder rows, a bias before and after; TopK as a mask on a dense code."""

    def __init__(self, width: int, latents: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.decoder = nn.Parameter(F.normalize(torch.randn(latents, width)))
        self.encoder = nn.Parameter(self.decoder.detach().clone())
        self.latent_bias, self.bias = nn.Parameter(torch.zeros(latents)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """``(n, width)`` -> ``(n, width)``."""
        pre = (x - self.bias) @ self.encoder.T + self.latent_bias
        values, chosen = pre.topk(self.k, dim=1)
        code = torch.zeros_like(pre).scatter(1, chosen, values.relu())
        return code @ self.decoder + self.bias


def train_plainly(batches: Iterable[Tensor], width: int, config: SaeConfig) -> Callable[[Tensor], Tensor]:
    """Train at a constant rate; returns the reconstruction."""
    torch.manual_seed(config.seed)
    model = PlainAutoencoder(width, config.latents, config.k)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    for x in batches:
        optimiser.zero_grad()
        F.mse_loss(model(x), x).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            model.decoder.copy_(F.normalize(model.decoder))
    return model
