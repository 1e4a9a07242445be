"""Run a CLIP text encoder layer by layer, on a subset of positions given the keys and values of the earlier ones.

CLIP's attention is causal: a change at one position affects only that and later positions, in that and later layers.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.generation.config import Precision
from editor.generation.module_device import autocast, execution_device, to_module

KeysValues = tuple[Tensor, Tensor]
"""Keys and values of an attention layer, each ``(rows, heads, positions, width / heads)``."""


@dataclass(frozen=True)
class CLIPTextRunner:
    """A transformers ``CLIPTextModel`` or ``CLIPTextModelWithProjection``, and which hidden states its output is."""

    encoder: Any
    output: Literal["final", "penultimate"] = "final"
    """SDXL uses the states before the last layer, without the final norm."""
    name: str = "text_encoder"
    precision: Precision = "float32"
    """Precision of matrix products; states and sums stay float32."""

    @property
    def text_model(self) -> Any:
        """The module with embeddings and layers. In transformers 5 that is the ``CLIPTextModel`` itself."""
        return getattr(self.encoder, "text_model", self.encoder)

    @property
    def depth(self) -> int:
        """Number of layers that the output depends on."""
        return len(self.text_model.encoder.layers) - (self.output == "penultimate")

    @property
    def width(self) -> int:
        """Width of the residual stream."""
        return int(self.text_model.final_layer_norm.weight.shape[0])

    def layer(self, index: int) -> Any:
        """Return one of the layers."""
        return self.text_model.encoder.layers[index]

    @property
    def device(self) -> torch.device:
        """The device that the encoder's inputs must be on."""
        return execution_device(self.encoder)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context manager that computes matrix products in the runner's precision."""
        return autocast(self.encoder, self.precision)

    @torch.no_grad()
    def embed(self, ids: Tensor) -> Tensor:
        """Return token plus position embeddings, ``(n, length)`` -> ``(n, length, width)``."""
        embedded: Tensor = self.text_model.embeddings(ids.to(self.device))
        return embedded

    def attention(self, index: int, hidden: Tensor, past: KeysValues | None = None) -> tuple[Tensor, KeysValues]:
        """Run a layer's self-attention on the positions after ``past``.

        Returns:
            The output ``(rows, new positions, width)``, and the keys and values of the new positions.
        """
        layer = self.layer(index)
        attn, normed = layer.self_attn, layer.layer_norm1(hidden)
        query, key, value = (split_heads(proj(normed), attn) for proj in (attn.q_proj, attn.k_proj, attn.v_proj))
        own = (key, value)
        if past is not None:
            key, value = (torch.cat([before, new], dim=2) for before, new in zip(past, own, strict=True))
        mask = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool, device=hidden.device)
        mask = mask.tril(key.shape[2] - query.shape[2])
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=attn.scale)
        return attn.out_proj(mixed.transpose(1, 2).flatten(2)), own

    def mlp(self, index: int, hidden: Tensor) -> Tensor:
        """Run a layer's MLP on any positions, ``(..., width)`` -> ``(..., width)``."""
        layer = self.layer(index)
        output: Tensor = layer.mlp(layer.layer_norm2(hidden))
        return output

    def output_states(self, hidden: Tensor) -> Tensor:
        """Turn the last residual stream into the states that condition the denoiser."""
        states: Tensor = hidden if self.output == "penultimate" else self.text_model.final_layer_norm(hidden)
        return states.float()

    @property
    def projection_dim(self) -> int:
        """Width of the pooled embedding of a ``CLIPTextModelWithProjection``."""
        return int(self.encoder.text_projection.weight.shape[0])

    @torch.no_grad()
    def pooled_embeddings(self, states: Tensor, eos_positions: Tensor) -> Tensor:
        """Return SDXL's pooled embeddings ``(rows, projection_dim)``.

        Args:
            states: penultimate hidden states ``(rows, positions, width)``.
            eos_positions: ``(rows,)``.
        """
        hidden = to_module(self.encoder, states)
        attended, _ = self.attention(self.depth, hidden)
        middle = hidden + attended
        last = self.text_model.final_layer_norm(middle + self.mlp(self.depth, middle))
        pooled: Tensor = self.encoder.text_projection(last[range(len(last)), eos_positions.to(last.device)])
        return pooled


def split_heads(projected: Tensor, attn: Any) -> Tensor:
    """``(rows, positions, width)`` -> ``(rows, heads, positions, width / heads)``."""
    rows, positions, width = projected.shape
    return projected.view(rows, positions, attn.num_heads, width // attn.num_heads).transpose(1, 2)
