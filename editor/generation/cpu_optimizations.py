"""CPU fast paths for the UNet: shared guidance halves, and reordered attention, GEGLU and GroupNorm kernels.

Matrix products and convolutions already run near the CPU's peak; these three kinds of modules take most of the remaining
time. Outputs are numerically equivalent. Other devices have kernels of their own, so their modules are left alone.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editor.generation.cfg_sharing import share_cfg_halves
from editor.generation.denoiser import override_attribute

MAX_UNFUSED_POSITIONS = 64
"""Sequence length up to which unfused attention is faster: the scores of all heads fit the CPU cache."""
VECTOR_LANES = 16
"""torch vectorises a channels-last GroupNorm only if a group's channels are a multiple of this."""


@contextmanager
def cpu_fast_path(unet: Any) -> Iterator[None]:
    """Share guidance halves and, on a CPU, replace slow modules. Both halves of each batch must hold equal latents."""
    with ExitStack() as stack:
        if unet.device.type == "cpu":
            stack.enter_context(replace_cpu_modules(unet))
        stack.enter_context(share_cfg_halves(unet))
        yield


@contextmanager
def replace_cpu_modules(unet: Any) -> Iterator[None]:
    """Replace modules and attention processors by equivalents that are faster on a CPU."""
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    with ExitStack() as stack:
        for parent in list(unet.modules()):
            if type(fused := getattr(parent, "processor", None)) is AttnProcessor2_0:
                processor = LengthDispatchedAttnProcessor(AttnProcessor(), fused)
                stack.enter_context(override_attribute(parent, "processor", processor))
                get_scores = partial(attention_scores, parent.scale)
                stack.enter_context(override_attribute(parent, "get_attention_scores", get_scores))
            for name, child in list(parent.named_children()):
                if equivalent := find_cpu_equivalent(child):
                    stack.enter_context(override_attribute(parent, name, equivalent))
        yield


def find_cpu_equivalent(module: nn.Module) -> nn.Module | None:
    """Return a module that computes the same faster on a CPU, or None."""
    from diffusers.models.activations import GEGLU

    if type(module) is GEGLU:
        return SplitGEGLU(module)
    if type(module) is nn.GroupNorm and module.num_channels // module.num_groups % VECTOR_LANES:
        return ContiguousGroupNorm(module)
    return None


@dataclass(frozen=True)
class LengthDispatchedAttnProcessor:
    """A diffusers attention processor: unfused matrix products for short sequences, the fused kernel for long ones."""

    unfused: Any
    fused: Any

    def __call__(self, attention: Any, hidden_states: Tensor, *inputs: Any, **kwargs: Any) -> Tensor:
        """Attend over states ``(rows, positions, d)`` or maps ``(rows, d, height, width)``; same shape out."""
        positions = hidden_states.shape[1] if hidden_states.dim() == 3 else hidden_states[0, 0].numel()
        processor = self.unfused if positions <= MAX_UNFUSED_POSITIONS else self.fused
        output: Tensor = processor(attention, hidden_states, *inputs, **kwargs)
        return output


def attention_scores(scale: float, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return attention weights, softmaxed in float32 without a float32 copy of the products.

    Args:
        queries: ``(rows, n, d)``.
        keys: ``(rows, m, d)``.
        mask: added before the softmax, ``(rows, 1 or n, m)``.

    Returns:
        ``(rows, n, m)``.
    """
    with torch.autocast(queries.device.type, enabled=False):
        products = torch.bmm(queries * scale, keys.transpose(1, 2))
        masked = products if mask is None else products + mask
        return masked.softmax(2, dtype=torch.float32).to(queries.dtype)


class SplitGEGLU(nn.Module):
    """GEGLU as two matrix products with contiguous outputs, in place of one whose halves are strided."""

    def __init__(self, geglu: Any) -> None:
        super().__init__()
        self.proj = geglu.proj

    def forward(self, states: Tensor) -> Tensor:
        """``(..., d)`` -> ``(..., inner)``."""
        values, gates = (F.linear(states, *parameters) for parameters in self.split_parameters())
        return values * F.gelu(gates)

    def split_parameters(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield the weight, and the bias if there is one, of the values and then of the gates."""
        return zip(*(parameter.chunk(2) for parameter in self.proj.parameters()), strict=True)


class ContiguousGroupNorm(nn.Module):
    """GroupNorm of channels-last maps, computed in NCHW layout."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise; the output is channels-last again, for the convolution that follows."""
        normed: Tensor = self.norm(maps.contiguous())
        return normed.contiguous(memory_format=torch.channels_last) if maps.dim() == 4 else normed
