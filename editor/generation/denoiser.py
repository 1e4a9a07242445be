"""Call a diffusers denoiser (UNet or transformer) on batches, and intervene on its modules while it runs."""

import inspect
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from editor.generation.config import Precision
from editor.generation.module_device import autocast, to_module

Conditioning = dict[str, Any]
"""Keyword arguments of the backbone: tensors with one row per batch entry, possibly in nested dictionaries."""
ATTENTION_CLASSES = ("Attention", "FluxAttention")
"""Attention modules of diffusers."""


class Intervention(Protocol):
    """A change to the activations of a batch while it runs through the backbone."""

    step: int
    """The current denoising step, set by the sampler."""

    def apply(self, backbone: nn.Module, first: int) -> AbstractContextManager[None]:
        """Return a context manager in which the rows from ``first`` on, the conditional ones, are changed."""


@dataclass
class NoIntervention:
    """Leave all activations as they are."""

    step: int = 0

    @contextmanager
    def apply(self, backbone: nn.Module, first: int) -> Iterator[None]:
        """See `Intervention.apply`."""
        yield


@dataclass(frozen=True)
class Denoiser:
    """A ``UNet2DConditionModel``, or a transformer: SD3, FLUX, PixArt, DiT."""

    backbone: Any
    shared_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments without a row per batch entry."""
    precision: Precision = "float32"

    def autocast(self) -> AbstractContextManager[Any]:
        """Return a context manager for the denoiser's precision. Weights are cast once in the outermost such context."""
        return autocast(self.backbone, self.precision)

    @torch.no_grad()
    def predict(self, latents: Tensor, timestep: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the noise prediction at one timestep, ``(rows, channels, height, width)`` or as the backbone packs it."""
        given = to_module(self.backbone, latents)
        times = timestep.to(given.device).expand(len(given))
        with self.autocast():
            output: Tensor = self.backbone(
                given, timestep=times, return_dict=False, **conditioning, **self.shared_kwargs
            )[0]
        return output.float()


def concat_conditioning(first: Conditioning, second: Conditioning) -> Conditioning:
    """Concatenate the rows of two conditionings."""
    return {
        name: concat_conditioning(one, second[name]) if isinstance(one, dict) else torch.cat([one, second[name]])
        for name, one in first.items()
    }


def select_rows(conditioning: Conditioning, rows: Any) -> Conditioning:
    """Return some rows of a conditioning."""
    selected: Conditioning = tree_map(lambda tensor: tensor[rows], conditioning)
    return selected


class CachedProjection(nn.Module):
    """A projection that caches its last output: a prompt's keys and values are the same in every step."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.projection = projection
        self.last_input: Tensor | None = None
        self.last_output: Tensor | None = None

    def forward(self, states: Tensor) -> Tensor:
        """Project ``states``, unless the previous call was with the same tensor object."""
        if self.last_output is None or states is not self.last_input:
            self.last_input, self.last_output = states, self.projection(states)
        return self.last_output


def is_cross_attention(name: str, module: Any) -> bool:
    """Return whether a diffusers attention module takes its keys and values from the prompt alone.

    diffusers has one class for self- and cross-attention: ``attn2`` of a block attends to the prompt. An attention over image
    and prompt together (SD3, FLUX) counts as self-attention.
    """
    is_attention = type(module).__name__ in ATTENTION_CLASSES
    return is_attention and name.endswith("attn2") and bool(getattr(module, "is_cross_attention", True))


@contextmanager
def cache_cross_attention_kv(backbone: nn.Module) -> Iterator[None]:
    """Project a prompt's cross-attention keys and values once, not in every step."""
    layers = [module for name, module in backbone.named_modules() if is_cross_attention(name, module)]
    with ExitStack() as stack:
        for layer in layers:
            for name in ("to_k", "to_v"):
                stack.enter_context(override_attribute(layer, name, CachedProjection(getattr(layer, name))))
        yield


@contextmanager
def override_attribute(parent: Any, name: str, value: Any) -> Iterator[None]:
    """Replace a submodule, a method or another attribute, and restore it on exit."""
    original = getattr(parent, name)
    is_method = inspect.ismethod(original) and name not in vars(parent)
    setattr(parent, name, value)
    try:
        yield
    finally:
        if is_method:
            delattr(parent, name)
        else:
            setattr(parent, name, original)
