"""Capture module outputs of an image backbone as maps: UNet blocks, and token sequences of transformers.

Tokens become maps by ``transpose(1, 2).reshape``. A plain ``view`` of ``(b, tokens, channels)`` as ``(b, channels, h, w)``
would mix up channels and positions.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from math import sqrt
from typing import Any

from torch import Tensor, nn

from editor.errors import FeatureError

Grid = tuple[int, int]
"""Height and width."""


@contextmanager
def capture(model: Any, names: Sequence[str], grid: Grid | None = None) -> Iterator[Mapping[str, Tensor]]:
    """Capture the outputs of the named modules; the mapping always has those of the backbone's last forward pass.

    Args:
        model: a diffusers pipeline, or its UNet or transformer.
        names: module names as in ``named_modules``: ``mid_block``, ``up_blocks.0``, ``transformer_blocks.3``.
        grid: height and width of the token grid. Default: inferred from the aspect of the latents, or from the position
            ids where latents are packed (FLUX).

    Yields:
        Module name -> ``(b, channels, height, width)``, on the model's device and in its precision; part of the autograd
        graph if gradients are enabled.

    Raises:
        FeatureError: the backbone has no such module, or the module's output is not a map of the image.
    """
    backbone = backbone_of(model)
    maps: dict[str, Tensor] = {}
    layout = SpatialLayout(grid)
    with ExitStack() as hooks:
        hooks.enter_context(remove_on_exit(backbone.register_forward_pre_hook(layout.observe_input, with_kwargs=True)))
        for name in names:
            module = module_by_name(backbone, name)
            hooks.enter_context(remove_on_exit(module.register_forward_hook(capture_hook(maps, name, layout))))
        yield maps


@contextmanager
def remove_on_exit(handle: Any) -> Iterator[None]:
    """Remove a hook by its handle when the context exits."""
    try:
        yield
    finally:
        handle.remove()


def capture_hook(maps: dict[str, Tensor], name: str, layout: "SpatialLayout") -> Any:
    """Return a forward hook that stores a module's output as a map in ``maps[name]``."""

    def hook(module: nn.Module, _: Any, output: Any) -> None:
        maps[name] = layout.to_map(name, image_output(module, output))

    return hook


def backbone_of(model: Any) -> nn.Module:
    """Return the UNet or transformer of a pipeline; a module is returned as it is."""
    if isinstance(model, nn.Module):
        return model
    backbone: nn.Module = getattr(model, "unet", None) or model.transformer
    return backbone


def module_by_name(backbone: nn.Module, name: str) -> nn.Module:
    """Return a module by name; the error suggests similar names."""
    modules = dict(backbone.named_modules())
    if name not in modules:
        similar = get_close_matches(name, modules, 5, 0.5)
        raise FeatureError(
            f"{type(backbone).__name__} has no module {name!r}.",
            field="modules",
            remedy=f"Did you mean one of these: {', '.join(similar)}?" if similar else "Name one of its modules.",
        )
    module: nn.Module = modules[name]
    return module


def image_output(module: nn.Module, output: Any) -> Tensor:
    """Return the image part of a module's output.

    Blocks of multimodal transformers return (text, image). Other modules with several outputs return the image first:
    attention (image, text), UNet blocks (states, skip connections).
    """
    if isinstance(output, Tensor):
        return output
    if hasattr(output, "sample"):
        return image_output(module, output.sample)
    part: Tensor = output[-1 if type(module).__name__.endswith("TransformerBlock") else 0]
    return part


@dataclass
class SpatialLayout:
    """The spatial layout of the backbone's current input, for turning tokens into maps."""

    grid: Grid | None
    aspect: Grid | None = None

    def observe_input(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Read the aspect from the latents, or from FLUX's image position ids. A forward pre-hook of the backbone."""
        latents = arguments[0] if arguments else named.get("sample", named.get("hidden_states"))
        if isinstance(latents, Tensor) and latents.ndim == 4:
            self.aspect = (latents.shape[2], latents.shape[3])
        elif isinstance(named.get("img_ids"), Tensor):
            rows, columns = (
                int(last) + 1 for last in named["img_ids"].amax(tuple(range(named["img_ids"].ndim - 1)))[1:]
            )
            self.aspect = (rows, columns)

    def to_map(self, name: str, states: Tensor) -> Tensor:
        """Return states as ``(b, c, h, w)``; they may be maps already, or tokens ``(b, n, c)``."""
        if states.ndim == 4:
            return states
        grid = (self.grid or infer_grid(states.shape[1], self.aspect)) if states.ndim == 3 else None
        if grid is None or grid[0] * grid[1] != states.shape[1]:
            raise FeatureError(
                f"The output of {name}, of shape {tuple(states.shape)}, is not a map of the image.",
                field="modules",
                remedy="Name a block, a resnet or an attention module, or pass the grid of its tokens.",
            )
        return tokens_to_map(states, grid)


def tokens_to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """Reshape row-major tokens ``(b, h * w, c)`` to maps ``(b, c, h, w)``."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)


def infer_grid(tokens: int, aspect: Grid | None) -> Grid | None:
    """Return the grid with this many tokens and the aspect of the latents (default: square), or None if there is none."""
    height, width = aspect or (1, 1)
    rows = round(sqrt(tokens * height / width))
    grid = (rows, tokens // rows if rows else 0)
    return grid if grid[0] * grid[1] == tokens and grid[0] * width == grid[1] * height else None
