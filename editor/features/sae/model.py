"""The k-sparse autoencoder (Makhzani & Frey 2013; Gao et al. 2024), its ReLU and BatchTopK variants, and its file format.

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

from api_schemas.features import AUTOENCODER_FILES
from editor.errors import FeatureError
from editor.features.sae.config import Activation
from editor.features.sae.sparse_codes import SparseCode, above_threshold, top_k
from editor.io.atomic import write_bytes

CONFIG_FILE, WEIGHTS_FILE = AUTOENCODER_FILES
FORMAT = "expunge-sae/1"
CHUNK_ROWS = 4096
"""Rows encoded at once."""


class SparseAutoencoder(nn.Module):
    """A sparse autoencoder of rows of ``width`` with ``k`` active latents per row (``relu`` ignores ``k``).

    ``encoder`` and ``decoder`` are ``(latents, width)``; row j belongs to latent j. After training, a ``batchtopk``
    autoencoder activates latents above ``threshold``, so that the code of a row does not depend on its batch.
    """

    mean: Tensor
    scale: Tensor
    threshold: Tensor

    def __init__(self, width: int, latents: int, k: int, activation: Activation = "topk") -> None:
        super().__init__()
        if activation != "relu" and k > latents:
            raise FeatureError(
                f"k={k} exceeds the number of latents, {latents}.", field="k", remedy="Choose a smaller k."
            )
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
        """Width of the rows."""
        return self.encoder.shape[1]

    @property
    def latents(self) -> int:
        """Number of latents."""
        return self.encoder.shape[0]

    def normalize(self, x: Tensor) -> Tensor:
        """Center and scale ``(n, width)`` rows to mean square norm ``width``, as in the loss."""
        return (x.to(self.mean) - self.mean) * self.scale

    def pre_activations(self, x: Tensor) -> Tensor:
        """Return dense, signed pre-activations ``(n, latents)``.

        Concepts are scored on these: in a code, whether a latent is active also depends on the other latents.
        """
        return torch.addmm(self.latent_bias, self.normalize(x) - self.pre_bias, self.encoder.T)

    def encode_sparse(self, x: Tensor) -> SparseCode:
        """Encode ``(n, width)`` rows as a sparse code."""
        pre = self.pre_activations(x)
        return top_k(pre, self.k) if self.activation == "topk" else above_threshold(pre, self.threshold)

    def encode(self, x: Tensor) -> Tensor:
        """Encode ``(n, width)`` rows as a dense code ``(n, latents)``."""
        return self.encode_sparse(x).dense()

    def decode(self, z: Tensor) -> Tensor:
        """Decode ``(n, latents)`` codes to ``(n, width)`` rows in the units of the data."""
        return self.denormalize(z @ self.decoder)

    def denormalize(self, decoded: Tensor) -> Tensor:
        """Add the bias to decoded rows and convert them to the units of the data."""
        return (decoded + self.pre_bias) / self.scale + self.mean

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct ``(n, width)`` rows."""
        return self.denormalize(self.encode_sparse(x).matmul(self.decoder))

    def save(self, folder: Path, card: dict[str, Any] | None = None, dtype: torch.dtype = torch.float32) -> None:
        """Write ``sae.safetensors`` and ``sae.json``; ``card`` describes the training data and the metrics."""
        tensors = {
            name: (value.to(dtype) if value.dim() == 2 else value).detach().cpu().contiguous()
            for name, value in self.state_dict().items()
        }
        about = {"format": FORMAT, "activation": self.activation, "k": self.k, "card": card or {}}
        write_bytes(folder / WEIGHTS_FILE, save(tensors))
        write_bytes(folder / CONFIG_FILE, json.dumps(about, indent=1).encode())


def load_sae(folder: Path) -> SparseAutoencoder:
    """Load an autoencoder written by ``save``, in float32 and evaluation mode.

    Raises:
        FeatureError: files are missing or invalid.
    """
    try:
        about = json.loads((folder / CONFIG_FILE).read_text())
        tensors = {name: value.float() for name, value in load_file(folder / WEIGHTS_FILE).items()}
        latents, width = tensors["encoder"].shape
        sae = SparseAutoencoder(width, latents, about["k"], about["activation"])
        sae.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise FeatureError(
            f"{folder.name} does not contain a readable sparse autoencoder.",
            field="folder",
            remedy=f"Name a folder with {CONFIG_FILE} and {WEIGHTS_FILE}, as written by `expunge features train`.",
        ) from error
    return sae.eval()


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card that is stored with an autoencoder."""
    card: dict[str, Any] = json.loads((folder / CONFIG_FILE).read_text())["card"]
    return card
