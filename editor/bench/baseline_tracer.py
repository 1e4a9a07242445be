"""The tracer that a user would write: one site, one run of the unmodified encoder at a time, by hooks.

After the one public tracer of text encoders (EMCID), but for the unconditional prompt, which it corrupts too. The peer of
`expunge bench trace`, and the independent computation that the tests hold ours against.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from editor.tracing.sites import TEXT_KINDS, TextKind, TextSite

Clean = Mapping[tuple[int, TextKind], Tensor]


def inner(encoder: Any) -> Any:
    """The level that has embeddings and layers."""
    return getattr(encoder, "text_model", encoder)


def module_at(encoder: Any, layer: int, kind: TextKind) -> nn.Module:
    """The module whose output is a site."""
    block = inner(encoder).encoder.layers[layer]
    modules: dict[TextKind, nn.Module] = {"self_attention": block.self_attn, "mlp": block.mlp, "residual": block}
    return modules[kind]


@contextmanager
def rewriting(module: nn.Module, rewrite: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within, ``module``'s output (the first, if there are several) is ``rewrite`` of it."""

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        return (rewrite(output[0]), *output[1:]) if isinstance(output, tuple) else rewrite(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def clean_run(encoder: Any, ids: Tensor) -> tuple[Tensor, Clean]:
    """Last states, and every site's output."""
    seen: dict[tuple[int, TextKind], Tensor] = {}
    with ExitStack() as stack:
        for layer in range(len(inner(encoder).encoder.layers)):
            for kind in TEXT_KINDS:
                keep = keeper(seen, layer, kind)
                stack.enter_context(rewriting(module_at(encoder, layer, kind), keep))
        return encoder(ids).last_hidden_state, seen


def keeper(seen: dict[tuple[int, TextKind], Tensor], layer: int, kind: TextKind) -> Callable[[Tensor], Tensor]:
    """Notes an output and changes nothing."""

    def keep(output: Tensor) -> Tensor:
        seen[layer, kind] = output
        return output

    return keep


@torch.no_grad()
def restored_run(
    encoder: Any, ids: Tensor, corrupted: Tensor, clean: Clean, site: TextSite | None, mask: Tensor
) -> Tensor:
    """Last states of one corrupted prompt ``(1, context)``, with a site put back where ``mask`` ``(context,)`` says."""
    with ExitStack() as stack:
        stack.enter_context(rewriting(inner(encoder).embeddings, lambda _: corrupted))
        if site:
            for layer in range(site.layer, site.stop):
                put = putter(clean[layer, site.kind], mask)
                stack.enter_context(rewriting(module_at(encoder, layer, site.kind), put))
        states: Tensor = encoder(ids).last_hidden_state
    return states


def putter(clean: Tensor, mask: Tensor) -> Callable[[Tensor], Tensor]:
    """Puts a clean output back at some positions."""
    return lambda output: torch.where(mask[None, :, None], clean, output)
