"""The MLP of a CLIP layer, and linear maps whose weights may have another dtype than the states."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editor.checkpoints.text_encoder import Activation

ACTIVATIONS = {"gelu": F.gelu, "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x)}


def apply_linear(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Apply a linear map in the dtype of its weight. The result has the dtype of ``values``."""
    return F.linear(values.to(weight.dtype), weight, bias).to(values.dtype)


@dataclass(frozen=True)
class CLIPMLP:
    """One layer's MLP, including its layer norm."""

    activation: Activation
    eps: float
    layer_norm: tuple[Tensor, Tensor]
    """Weight and bias, (d,) each."""
    fc1: tuple[Tensor, Tensor]
    """Weight (h, d) and bias (h,)."""
    fc2: tuple[Tensor, Tensor]
    """Weight (d, h) and bias (d,)."""

    def __call__(self, stream: Tensor) -> Tensor:
        """Return the MLP's output for a residual stream (..., d)."""
        return apply_linear(self.keys(stream), *self.fc2)

    def keys(self, stream: Tensor) -> Tensor:
        """Return the input of ``fc2``, (..., h), for a residual stream (..., d)."""
        normal = F.layer_norm(stream, stream.shape[-1:], *self.layer_norm, eps=self.eps)
        keys: Tensor = ACTIVATIONS[self.activation](apply_linear(normal, *self.fc1))
        return keys
