"""A conventional tracer with hooks: one run of the unmodified encoder for each site.

It follows the one public tracer of text encoders (EMCID), which also corrupts the unconditional prompt; ours does not. It is
the peer of `expunge bench trace`, and the independent implementation that the tests compare ours with.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from editor.tracing.sites import TEXT_KINDS, TextKind, TextSite

SiteOutputs = Mapping[tuple[int, TextKind], Tensor]
"""The output of every site by layer and kind."""


def text_model_of(encoder: Any) -> Any:
    """Return the module with embeddings and layers."""
    return getattr(encoder, "text_model", encoder)


def site_module(encoder: Any, layer: int, kind: TextKind) -> nn.Module:
    """Return the module whose output is a site."""
    block = text_model_of(encoder).encoder.layers[layer]
    modules: dict[TextKind, nn.Module] = {"self_attention": block.self_attn, "mlp": block.mlp, "residual": block}
    return modules[kind]


@contextmanager
def hook_output(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace ``module``'s output, or the first of several, by ``change`` of it."""

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def run_clean(encoder: Any, ids: Tensor) -> tuple[Tensor, SiteOutputs]:
    """Return the last states, and every site's output."""
    outputs: dict[tuple[int, TextKind], Tensor] = {}
    with ExitStack() as stack:
        for layer in range(len(text_model_of(encoder).encoder.layers)):
            for kind in TEXT_KINDS:
                record = make_recorder(outputs, layer, kind)
                stack.enter_context(hook_output(site_module(encoder, layer, kind), record))
        return encoder(ids).last_hidden_state, outputs


def make_recorder(
    outputs: dict[tuple[int, TextKind], Tensor], layer: int, kind: TextKind
) -> Callable[[Tensor], Tensor]:
    """Return a function that stores an output and leaves it unchanged."""

    def record(output: Tensor) -> Tensor:
        outputs[layer, kind] = output
        return output

    return record


@torch.no_grad()
def run_restored(
    encoder: Any, ids: Tensor, corrupted: Tensor, clean: SiteOutputs, site: TextSite | None, mask: Tensor
) -> Tensor:
    """Return the last states of one corrupted prompt ``(1, context)`` with a site restored where ``mask`` is true.

    Args:
        corrupted: embeddings ``(1, context, width)``.
        mask: ``(context,)`` bool.
    """
    with ExitStack() as stack:
        stack.enter_context(hook_output(text_model_of(encoder).embeddings, lambda _: corrupted))
        if site:
            for layer in range(site.layer, site.stop):
                restore = make_restorer(clean[layer, site.kind], mask)
                stack.enter_context(hook_output(site_module(encoder, layer, site.kind), restore))
        states: Tensor = encoder(ids).last_hidden_state
    return states


def make_restorer(clean: Tensor, mask: Tensor) -> Callable[[Tensor], Tensor]:
    """Return a function that restores a clean output where ``mask`` is true."""
    return lambda output: torch.where(mask[None, :, None], clean, output)
