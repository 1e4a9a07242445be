"""Sparse reconstruction: forward and backward passes that only compute the active latents.

With x the rows, c = x - pre_bias, z the code and g the gradient at the output:

    d decoder = z' g        dz = g decoder' where z > 0        d encoder = dz' c        d latent_bias = sum dz
    d pre_bias = sum g - (sum dz) encoder

The encoder's matrix product is the only dense operation of a step and may run in bfloat16; the rest is float32 or float64.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from editor.features.sae.sparse_codes import SparseCode, bag_sums

LatentSelector = Callable[[Tensor], SparseCode]
"""``(rows, latents)`` pre-activations -> code of the active latents."""
CodeObserver = Callable[[SparseCode], None]


def reconstruct(
    x: Tensor,
    encoder: Tensor,
    latent_bias: Tensor,
    decoder: Tensor,
    pre_bias: Tensor,
    select: LatentSelector,
    observe: CodeObserver = lambda code: None,
    precision: torch.dtype = torch.float32,
) -> Tensor:
    """Reconstruct ``(rows, width)``, differentiable in the four parameters; ``observe`` is called with the code."""
    output: Tensor = SparseReconstruction.apply(x, encoder, latent_bias, decoder, pre_bias, select, observe, precision)  # type: ignore[no-untyped-call]
    return output


class SparseReconstruction(torch.autograd.Function):
    """Autograd function of ``reconstruct``."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        encoder: Tensor,
        latent_bias: Tensor,
        decoder: Tensor,
        pre_bias: Tensor,
        choose: LatentSelector,
        see: CodeObserver,
        precision: torch.dtype,
    ) -> Tensor:
        """Encode in ``precision``, select the active latents, decode."""
        centred = x - pre_bias
        pre = torch.addmm(latent_bias.to(precision), centred.to(precision), encoder.to(precision).T)
        code = choose(pre)
        see(code)
        ctx.save_for_backward(centred, encoder, decoder, code.offsets, code.latents, code.values)
        return code.matmul(decoder) + pre_bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Compute the gradients by the formulas above."""
        (output,) = gradients
        centred, encoder, decoder, offsets, latents, values = ctx.saved_tensors
        code = SparseCode(offsets, latents, values, len(encoder))
        slopes = code_gradient(code, decoder, output)
        latent_bias = torch.zeros_like(encoder[:, 0]).index_add(0, latents, slopes)
        pre_bias = output.sum(0) - latent_bias @ encoder
        return (
            None,
            code.transpose(slopes).matmul(centred),
            latent_bias,
            code.transpose().matmul(output),
            pre_bias,
            None,
            None,
            None,
        )


def code_gradient(code: SparseCode, decoder: Tensor, output: Tensor) -> Tensor:
    """Return the gradient of each value of the code, ``(entries,)``; zero where the ReLU clips."""
    with torch.enable_grad():
        values = code.values.detach().requires_grad_()
        decoded = bag_sums(code.latents, code.offsets, values, decoder.detach())
        (gradient,) = torch.autograd.grad(decoded, values, output)
    return gradient * (code.values > 0)
