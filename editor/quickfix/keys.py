"""Keys and values of the first self-attention layer's output projection.

The key of a token is what enters ``out_proj`` (the concatenated head outputs); the value is what leaves it, less the bias,
which the edit keeps. Only the embeddings of the tokens at hand and one layer are read, and all is computed in float64.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.checkpoints import OUT_PROJ, TextEncoder

LAYER = "text_model.encoder.layers.0."


@dataclass(frozen=True)
class FirstLayer:
    """The first layer of a CLIP text encoder up to its attention output."""

    source: TextEncoder
    heads: int
    eps: float
    norm: tuple[Tensor, Tensor]
    projections: tuple[Tensor, Tensor]
    """Weight ``(3 d, d)`` and bias ``(3 d,)`` of queries, keys and values."""
    positions: Tensor
    stored: Tensor
    """``out_proj.weight`` as in the file, ``(d, d)``."""

    @property
    def weight(self) -> Tensor:
        """``out_proj.weight`` in float64."""
        return self.stored.double()

    def keys(self, ids: Tensor) -> Tensor:
        """``(n, length)`` token ids -> ``(n, length, d)`` keys."""
        n, length = ids.shape
        embedded = self.source.rows("text_model.embeddings.token_embedding.weight", ids.flatten()).double()
        width = embedded.shape[-1]
        states = embedded.reshape(n, length, width) + self.positions[:length]
        normal = F.layer_norm(states, (width,), *self.norm, eps=self.eps)
        queries, keys, values = (
            part.reshape(n, length, self.heads, -1).transpose(1, 2)
            for part in F.linear(normal, *self.projections).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return mixed.transpose(1, 2).reshape(n, length, width)


def open_first_layer(source: TextEncoder) -> FirstLayer:
    """Read the first layer's attention."""

    def read(name: str) -> Tensor:
        return source.tensor(LAYER + name).double()

    names = [f"self_attn.{role}_proj" for role in "qkv"]
    return FirstLayer(
        source=source,
        heads=source.heads,
        eps=source.eps,
        norm=(read("layer_norm1.weight"), read("layer_norm1.bias")),
        projections=(
            torch.cat([read(f"{name}.weight") for name in names]),
            torch.cat([read(f"{name}.bias") for name in names]),
        ),
        positions=source.tensor("text_model.embeddings.position_embedding.weight").double(),
        stored=source.tensor(OUT_PROJ.format(layer=0)),
    )
