"""A CLIP text encoder, run layer by layer on some positions only: what comes before them is handed in as keys and values.

CLIP's attention is causal, so a change at one position reaches later positions and later layers alone.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.generation.config import Precision

KeysValues = tuple[Tensor, Tensor]
"""Each ``(rows, heads, positions, width / heads)``."""


@dataclass(frozen=True)
class CLIPTextRunner:
    """A transformers ``CLIPTextModel`` or ``CLIPTextModelWithProjection``, and which of its states the image half reads."""

    encoder: Any
    output: Literal["final", "penultimate"] = "final"
    """SDXL reads the states before the last layer, without the final norm."""
    name: str = "text_encoder"
    precision: Precision = "float32"
    """Of products; states and sums stay float32."""

    @property
    def text_model(self) -> Any:
        """transformers 5 has no ``text_model`` level in a ``CLIPTextModel``."""
        return getattr(self.encoder, "text_model", self.encoder)

    @property
    def depth(self) -> int:
        """Layers that the output depends on."""
        return len(self.text_model.encoder.layers) - (self.output == "penultimate")

    @property
    def width(self) -> int:
        """Of the residual stream."""
        return int(self.text_model.final_layer_norm.weight.shape[0])

    def layer(self, index: int) -> Any:
        """One of its layers."""
        return self.text_model.encoder.layers[index]

    def autocast(self) -> torch.autocast:
        """Within, products are made in the tower's precision."""
        device = self.text_model.final_layer_norm.weight.device.type
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """``(n, length)`` -> token plus position embeddings ``(n, length, width)``."""
        embedded: Tensor = self.text_model.embeddings(ids)
        return embedded

    def attention(self, index: int, hidden: Tensor, past: KeysValues | None = None) -> tuple[Tensor, KeysValues]:
        """Self-attention output ``(rows, new, width)`` of a layer, for the positions after ``past``; and their keys, values."""
        layer = self.layer(index)
        attn, normed = layer.self_attn, layer.layer_norm1(hidden)
        query, key, value = (split_heads(proj(normed), attn) for proj in (attn.q_proj, attn.k_proj, attn.v_proj))
        own = (key, value)
        if past is not None:
            key, value = (torch.cat([before, new], dim=2) for before, new in zip(past, own, strict=True))
        seen = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=hidden.device)
        seen = seen.tril(key.shape[2] - query.shape[2])
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen, scale=attn.scale)
        return attn.out_proj(mixed.transpose(1, 2).flatten(2)), own

    def mlp(self, index: int, hidden: Tensor) -> Tensor:
        """MLP output of a layer, for any positions: ``(..., width)`` -> the same."""
        layer = self.layer(index)
        output: Tensor = layer.mlp(layer.layer_norm2(hidden))
        return output

    def output_states(self, hidden: Tensor) -> Tensor:
        """The states that the image half reads."""
        finished: Tensor = hidden if self.output == "penultimate" else self.text_model.final_layer_norm(hidden)
        return finished.float()

    @property
    def projection_dim(self) -> int:
        """Width of the pooled embedding of a ``CLIPTextModelWithProjection``."""
        return int(self.encoder.text_projection.weight.shape[0])

    @torch.no_grad()
    def pooled_embeddings(self, states: Tensor, ends: Tensor) -> Tensor:
        """``(rows, projected)`` from penultimate ``states`` and EOS positions ``(rows,)``: SDXL's second condition."""
        attended, _ = self.attention(self.depth, states)
        middle = states + attended
        last = self.text_model.final_layer_norm(middle + self.mlp(self.depth, middle))
        embedded: Tensor = self.encoder.text_projection(last[torch.arange(len(last)), ends])
        return embedded


def split_heads(projected: Tensor, attn: Any) -> Tensor:
    """``(rows, positions, width)`` -> ``(rows, heads, positions, width / heads)``."""
    rows, positions, width = projected.shape
    return projected.view(rows, positions, attn.num_heads, width // attn.num_heads).transpose(1, 2)
