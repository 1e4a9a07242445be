"""Sites of a text encoder, and forward passes in which some are recorded, corrupted or restored by hooks."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from api_schemas.report import SiteKind

KINDS: tuple[SiteKind, ...] = ("self_attention", "mlp")
Rewrite = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Site:
    """The output of one block of one layer."""

    layer: int
    kind: SiteKind


def layers(encoder: nn.Module) -> Sequence[Any]:
    """The encoder's layers; transformers 5 has no ``text_model`` level in a ``CLIPTextModel``."""
    inner: Any = getattr(encoder, "text_model", encoder)
    return list(inner.encoder.layers)


def embeddings(encoder: nn.Module) -> nn.Module:
    """The module whose output is token plus position embeddings."""
    inner: Any = getattr(encoder, "text_model", encoder)
    module: nn.Module = inner.embeddings
    return module


def all_sites(encoder: nn.Module) -> list[Site]:
    """Every site, layer after layer."""
    return [Site(layer, kind) for layer in range(len(layers(encoder))) for kind in KINDS]


def module_of(encoder: nn.Module, site: Site) -> nn.Module:
    """The module whose output is the site."""
    layer = layers(encoder)[site.layer]
    module: nn.Module = layer.self_attn if site.kind == "self_attention" else layer.mlp
    return module


@contextmanager
def rewriting(module: nn.Module, rewrite: Rewrite) -> Iterator[None]:
    """Within, ``module``'s output (the first, if there are several) is ``rewrite`` of it."""

    def hook(_: nn.Module, __: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (rewrite(output[0]), *output[1:])
        return rewrite(output)

    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def record(encoder: nn.Module, ids: Tensor, sites: Sequence[Site]) -> tuple[Tensor, dict[Site, Tensor]]:
    """A clean run: last hidden states ``(n, length, d)``, and each site's output."""
    seen: dict[Site, Tensor] = {}

    def keep(site: Site) -> Rewrite:
        def rewrite(output: Tensor) -> Tensor:
            seen[site] = output.detach()
            return output

        return rewrite

    with ExitStack() as stack:
        for site in sites:
            stack.enter_context(rewriting(module_of(encoder, site), keep(site)))
        hidden: Tensor = encoder(ids).last_hidden_state
    return hidden, seen
