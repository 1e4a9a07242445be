"""A conventional k-sparse autoencoder: dense products in float32, trained with Adam."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editor.features.sae.config import SaeConfig


class BaselineAutoencoder(nn.Module):
    """Tied initialisation, unit decoder rows, a bias before and after; TopK as a mask on a dense code."""

    def __init__(self, width: int, latents: int, k: int) -> None:
        super().__init__()
        self.k = k
        self.decoder = nn.Parameter(F.normalize(torch.randn(latents, width)))
        self.encoder = nn.Parameter(self.decoder.detach().clone())
        self.latent_bias, self.bias = nn.Parameter(torch.zeros(latents)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct ``(n, width)``."""
        pre = (x - self.bias) @ self.encoder.T + self.latent_bias
        values, active = pre.topk(self.k, dim=1)
        code = torch.zeros_like(pre).scatter(1, active, values.relu())
        return code @ self.decoder + self.bias


def train_baseline(batches: Iterable[Tensor], width: int, config: SaeConfig) -> Callable[[Tensor], Tensor]:
    """Train at a constant learning rate, and return the function that reconstructs rows."""
    torch.manual_seed(config.seed)
    model = BaselineAutoencoder(width, config.latents, config.k)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    for x in batches:
        optimiser.zero_grad()
        F.mse_loss(model(x), x).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            model.decoder.copy_(F.normalize(model.decoder))
    return model
