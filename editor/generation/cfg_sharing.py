"""Guidance runs the UNet on every latent twice, with and without the prompt: what comes before the first word is the same.

Until the first cross-attention both halves of a batch hold equal rows. There the modules are run on one half.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from editor.generation.denoiser import override_attribute


class DeduplicatedModule(nn.Module):
    """A module whose input's two halves are equal: runs on the first, and gives its output twice."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """Arguments that are no tensors are passed on."""
        rows = len(inputs[0]) // 2

        def half(value: Any) -> Any:
            return value[:rows] if isinstance(value, Tensor) and len(value) == 2 * rows else value

        output: Tensor = self.module(*tree_map(half, inputs), **tree_map(half, options))
        return torch.cat([output, output])


def unconditioned_modules(unet: Any) -> list[str]:
    """Modules that run before the first cross-attention, on latents and time alone; none where another input differs."""
    first = unet.down_blocks[0]
    if unet.config.addition_embed_type is not None or not hasattr(first, "attentions"):
        return []
    attention = "down_blocks.0.attentions.0"
    inner = [f"{attention}.transformer_blocks.0.{name}" for name in ("norm1", "attn1")]
    return ["conv_in", "down_blocks.0.resnets.0", f"{attention}.norm", f"{attention}.proj_in", *inner]


@contextmanager
def share_cfg_halves(unet: Any) -> Iterator[None]:
    """Within, a batch whose halves are equal latents at one time is computed once until the first cross-attention."""
    with ExitStack() as stack:
        for path in unconditioned_modules(unet):
            parent, _, name = path.rpartition(".")
            module = unet.get_submodule(path)
            stack.enter_context(override_attribute(unet.get_submodule(parent), name, DeduplicatedModule(module)))
        yield
