"""An image backbone of diffusers, called in rows; and what is done to its modules while it runs."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from editor.generation.config import Precision

Conditioning = dict[str, Any]
"""Keyword arguments of the backbone: tensors with a row for each run, perhaps in dictionaries."""


ATTENTION_CLASSES = ("Attention", "FluxAttention")
"""Attention modules of diffusers."""


class Intervention(Protocol):
    """What is done to a batch while it runs through the backbone."""

    step: int
    """Set by whoever samples."""

    def apply(self, backbone: nn.Module, first: int) -> AbstractContextManager[None]:
        """Within, the rows from ``first`` on, the conditional ones, are edited; earlier rows never."""


@dataclass
class NoIntervention:
    """Plain runs."""

    step: int = 0

    @contextmanager
    def apply(self, backbone: nn.Module, first: int) -> Iterator[None]:
        """Nothing is done."""
        yield


@dataclass(frozen=True)
class Denoiser:
    """A ``UNet2DConditionModel``, or a transformer: SD3, FLUX, PixArt, DiT."""

    backbone: Any
    shared_kwargs: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments that all rows have in common."""
    precision: Precision = "float32"

    def autocast(self) -> torch.autocast:
        """Within, products are made in the denoiser's precision; weights are cast once in the outermost such block."""
        device = next(self.backbone.parameters()).device.type
        return torch.autocast(device, dtype=torch.bfloat16, enabled=self.precision == "bfloat16")

    @torch.no_grad()
    def predict(self, latents: Tensor, timestep: Tensor, condition: Conditioning) -> Tensor:
        """Noise prediction ``(rows, channels, height, width)``, or as the backbone packs it, at one timestep."""
        times = timestep.expand(len(latents))
        with self.autocast():
            output: Tensor = self.backbone(
                latents, timestep=times, return_dict=False, **condition, **self.shared_kwargs
            )[0]
        return output.float()


def concat_conditioning(first: Conditioning, second: Conditioning) -> Conditioning:
    """The rows of both."""
    return {name: join(first[name], second[name]) for name in first}


def join(first: Any, second: Any) -> Any:
    """One argument's rows of both."""
    return concat_conditioning(first, second) if isinstance(first, dict) else torch.cat([first, second])


def select_rows(condition: Conditioning, rows: Any) -> Conditioning:
    """Some rows."""
    chosen: Conditioning = tree_map(lambda tensor: tensor[rows], condition)
    return chosen


class CachedProjection(nn.Module):
    """A projection that knows its last input: the prompt's keys and values are the same in every step."""

    def __init__(self, projection: nn.Module) -> None:
        super().__init__()
        self.projection = projection
        self.seen: Tensor | None = None
        self.projected: Tensor | None = None

    def forward(self, states: Tensor) -> Tensor:
        """Project, unless these very states were projected just before."""
        if self.projected is None or states is not self.seen:
            self.seen, self.projected = states, self.projection(states)
        return self.projected


def is_cross_attention(name: str, module: Any) -> bool:
    """Whether a diffusers attention module reads keys and values from the prompt alone.

    diffusers has one class for self- and cross-attention: ``attn2`` of a block attends to the prompt. An attention over image
    and prompt together (SD3, FLUX) counts as self-attention.
    """
    is_attention = type(module).__name__ in ATTENTION_CLASSES
    return is_attention and name.endswith("attn2") and bool(getattr(module, "is_cross_attention", True))


@contextmanager
def cache_cross_attention_kv(backbone: nn.Module) -> Iterator[None]:
    """Within, cross-attention projects a prompt's keys and values once, not in every step."""
    layers = [module for name, module in backbone.named_modules() if is_cross_attention(name, module)]
    with ExitStack() as stack:
        for layer in layers:
            for name in ("to_k", "to_v"):
                stack.enter_context(override_attribute(layer, name, CachedProjection(getattr(layer, name))))
        yield


@contextmanager
def override_attribute(parent: nn.Module, name: str, child: Any) -> Iterator[None]:
    """Within, something else takes the place of a child, or of another attribute."""
    own = getattr(parent, name)
    setattr(parent, name, child)
    try:
        yield
    finally:
        setattr(parent, name, own)
