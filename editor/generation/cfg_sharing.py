"""Share work between the two halves of classifier-free guidance.

Guidance runs the UNet on every latent twice, with and without the prompt. Up to the first cross-attention both halves of the
batch are equal, so the modules before it need to run on one half only.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from editor.generation.denoiser import override_attribute


class DeduplicatedModule(nn.Module):
    """Run a module on the first half of a batch whose halves are equal, and return its output twice."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Any, **kwargs: Any) -> Tensor:
        """Halve all tensors that have one row per batch entry; pass other arguments on."""
        rows = len(inputs[0]) // 2

        def half(value: Any) -> Any:
            return value[:rows] if isinstance(value, Tensor) and len(value) == 2 * rows else value

        output: Tensor = self.module(*tree_map(half, inputs), **tree_map(half, kwargs))
        return torch.cat([output, output])


def unconditioned_modules(unet: Any) -> list[str]:
    """Return the modules before the first cross-attention, or none if the UNet has conditioning other than text and time."""
    first = unet.down_blocks[0]
    if unet.config.addition_embed_type is not None or not hasattr(first, "attentions"):
        return []
    attention = "down_blocks.0.attentions.0"
    inner = [f"{attention}.transformer_blocks.0.{name}" for name in ("norm1", "attn1")]
    return ["conv_in", "down_blocks.0.resnets.0", f"{attention}.norm", f"{attention}.proj_in", *inner]


@contextmanager
def share_cfg_halves(unet: Any) -> Iterator[None]:
    """Compute duplicated guidance halves once, up to the first cross-attention. Both halves must hold equal latents."""
    with ExitStack() as stack:
        for path in unconditioned_modules(unet):
            parent, _, name = path.rpartition(".")
            module = unet.get_submodule(path)
            stack.enter_context(override_attribute(unet.get_submodule(parent), name, DeduplicatedModule(module)))
        yield
