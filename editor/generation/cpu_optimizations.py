"""The same images with less work: what guidance computes twice is shared, and some modules go about it as processors like it.

Beside a UNet's products and convolutions, which run near the processor's peak, three kinds of modules take most of the time.
Each computes here what it did, in another order. Other devices have kernels of their own and keep their modules.
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
"""Positions up to which attention is quicker in plain products: the scores of all heads stay in the cache."""
VECTOR_LANES = 16
"""Channels of a group from which torch vectorises its normalisation over channels that lie last."""


@contextmanager
def cpu_fast_path(unet: Any) -> Iterator[None]:
    """Within, a batch whose halves are equal latents at one time takes less work."""
    with ExitStack() as stack:
        if unet.device.type == "cpu":
            stack.enter_context(replace_cpu_modules(unet))
        stack.enter_context(share_cfg_halves(unet))
        yield


@contextmanager
def replace_cpu_modules(unet: Any) -> Iterator[None]:
    """Within, modules and attention are replaced by what computes the same sooner on a processor."""
    from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0

    with ExitStack() as stack:
        for parent in list(unet.modules()):
            if type(fused := getattr(parent, "processor", None)) is AttnProcessor2_0:
                stack.enter_context(
                    override_attribute(parent, "processor", LengthDispatchedAttnProcessor(AttnProcessor(), fused))
                )
                stack.enter_context(
                    override_attribute(parent, "get_attention_scores", partial(attention_scores, parent.scale))
                )
            for name, child in list(parent.named_children()):
                if sooner := find_cpu_equivalent(child):
                    stack.enter_context(override_attribute(parent, name, sooner))
        yield


def find_cpu_equivalent(module: nn.Module) -> nn.Module | None:
    """What computes the same sooner, if anything does."""
    from diffusers.models.activations import GEGLU

    if type(module) is GEGLU:
        return SplitGEGLU(module)
    if type(module) is nn.GroupNorm and module.num_channels // module.num_groups % VECTOR_LANES:
        return ContiguousGroupNorm(module)
    return None


@dataclass(frozen=True)
class LengthDispatchedAttnProcessor:
    """An attention processor of diffusers: plain products where positions are few, the fused kernel elsewhere."""

    plain: Any
    fused: Any

    def __call__(self, attention: Any, hidden_states: Tensor, *inputs: Any, **options: Any) -> Tensor:
        """States ``(rows, positions, d)`` or maps ``(rows, d, height, width)``, laid out as they came."""
        positions = hidden_states.shape[1] if hidden_states.dim() == 3 else hidden_states[0, 0].numel()
        processor = self.plain if positions <= MAX_UNFUSED_POSITIONS else self.fused
        output: Tensor = processor(attention, hidden_states, *inputs, **options)
        return output


def attention_scores(scale: float, queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """``(rows, n, d)``, ``(rows, m, d)`` -> ``(rows, n, m)``: the softmax in float32 without a copy of what it reads.

    A mask, ``(rows, 1 or n, m)``, is added before it.
    """
    with torch.autocast(queries.device.type, enabled=False):
        products = torch.bmm(queries * scale, keys.transpose(1, 2))
        masked = products if mask is None else products + mask
        return masked.softmax(2, dtype=torch.float32).to(queries.dtype)


class SplitGEGLU(nn.Module):
    """GEGLU as two products: each lies whole in memory, where the halves of one are strided."""

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.proj = own.proj

    def forward(self, states: Tensor) -> Tensor:
        """``(..., d)`` -> ``(..., inner)``."""
        values, gates = (F.linear(states, *half) for half in self.split_parameters())
        return values * F.gelu(gates)

    def split_parameters(self) -> Iterator[tuple[Tensor, ...]]:
        """The weight, and the bias where there is one, of values and of gates."""
        return zip(*(parameter.chunk(2) for parameter in self.proj.parameters()), strict=True)


class ContiguousGroupNorm(nn.Module):
    """Group normalisation of maps whose channels lie last, done with them first."""

    def __init__(self, norm: nn.GroupNorm) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, maps: Tensor) -> Tensor:
        """The same maps, laid out for the convolution that follows."""
        normed: Tensor = self.norm(maps.contiguous())
        return normed.contiguous(memory_format=torch.channels_last) if maps.dim() == 4 else normed
