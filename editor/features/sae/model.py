"""The k-sparse autoencoder (Makhzani & Frey 2013; Gao et al. 2024), its ReLU and BatchTopK relatives, and its files.

u = (x - mean) * scale        p = (u - pre_bias) encoder' + latent_bias        z = activation(p)
x' = (z decoder + pre_bias) / scale + mean
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from editor.errors import FeatureError
from editor.features.sae.config import Activation
from editor.features.sae.sparse_codes import SparseCode, above_threshold, top_k
from editor.io.atomic import write_bytes

CONFIG_FILE, WEIGHTS_FILE = "sae.json", "sae.safetensors"
FORMAT = "expunge-sae/1"
CHUNK_ROWS = 4096
"""Rows that are encoded at once."""


class SparseAutoencoder(nn.Module):
    """``width``: of the rows; ``k``: active latents of a row (``relu`` ignores it).

    ``encoder`` and ``decoder`` are ``(latents, width)``: row j reads and writes latent j. Codes of a ``batchtopk``
    don't depend on what else is in the batch: after training a latent is active above ``threshold``.
    """

    mean: Tensor
    scale: Tensor
    threshold: Tensor

    def __init__(self, width: int, latents: int, k: int, activation: Activation = "topk") -> None:
        super().__init__()
        if activation != "relu" and k > latents:
            raise FeatureError(f"{k} of {latents} latents can't be active.", field="k", remedy="Choose a smaller k.")
        self.k, self.activation = k, activation
        self.encoder = nn.Parameter(torch.zeros(latents, width))
        self.latent_bias = nn.Parameter(torch.zeros(latents))
        self.decoder = nn.Parameter(torch.zeros(latents, width))
        self.pre_bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("threshold", torch.zeros(latents))

    @property
    def width(self) -> int:
        """Of the rows."""
        return self.encoder.shape[1]

    @property
    def latents(self) -> int:
        """Size of the dictionary."""
        return self.encoder.shape[0]

    def normalize(self, x: Tensor) -> Tensor:
        """``(n, width)`` rows as the loss sees them: mean square norm ``width``."""
        return (x.to(self.mean) - self.mean) * self.scale

    def pre_activations(self, x: Tensor) -> Tensor:
        """``(n, latents)``, dense and signed: what a concept is scored by. A code is censored by its competition."""
        return torch.addmm(self.latent_bias, self.normalize(x) - self.pre_bias, self.encoder.T)

    def encode_sparse(self, x: Tensor) -> SparseCode:
        """The active latents of each row."""
        pre = self.pre_activations(x)
        return top_k(pre, self.k) if self.activation == "topk" else above_threshold(pre, self.threshold)

    def encode(self, x: Tensor) -> Tensor:
        """``(n, latents)``: the code, dense."""
        return self.encode_sparse(x).dense()

    def decode(self, z: Tensor) -> Tensor:
        """``(n, latents)`` -> ``(n, width)`` rows in the units of the data."""
        return self.denormalize(z @ self.decoder)

    def denormalize(self, decoded: Tensor) -> Tensor:
        """Back from what the loss sees to the units of the data."""
        return (decoded + self.pre_bias) / self.scale + self.mean

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct ``(n, width)`` rows."""
        return self.denormalize(self.encode_sparse(x).matmul(self.decoder))

    def save(self, folder: Path, card: dict[str, Any] | None = None, dtype: torch.dtype = torch.float32) -> None:
        """Write ``sae.safetensors`` and ``sae.json``; ``card`` says what it was trained on and how well it does."""
        tensors = {
            name: (value.to(dtype) if value.dim() == 2 else value).detach().cpu().contiguous()
            for name, value in self.state_dict().items()
        }
        about = {"format": FORMAT, "activation": self.activation, "k": self.k, "card": card or {}}
        write_bytes(folder / WEIGHTS_FILE, save(tensors))
        write_bytes(folder / CONFIG_FILE, json.dumps(about, indent=1).encode())


def load_sae(folder: Path) -> SparseAutoencoder:
    """Read what ``save`` wrote, in float32.

    Raises:
        FeatureError: no such files in the folder, or others.
    """
    try:
        about = json.loads((folder / CONFIG_FILE).read_text())
        tensors = {name: value.float() for name, value in load_file(folder / WEIGHTS_FILE).items()}
        latents, width = tensors["encoder"].shape
        sae = SparseAutoencoder(width, latents, about["k"], about["activation"])
        sae.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise FeatureError(
            f"There is no readable sparse autoencoder in {folder.name}.",
            field="folder",
            remedy=f"It holds {CONFIG_FILE} and {WEIGHTS_FILE}, as `expunge features train` writes them.",
        ) from error
    return sae.eval()


def read_card(folder: Path) -> dict[str, Any]:
    """What the autoencoder says of itself."""
    card: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text())["card"]
    return card
