"""What modules of an image backbone put out, as maps: UNet blocks, and token sequences of transformers.

Tokens become maps by ``transpose(1, 2).reshape``: a mere ``view`` of ``(b, tokens, channels)`` as ``(b, channels, h, w)``
scrambles channels with positions.
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
    """Within, the mapping holds what the named modules put out in the backbone's last forward pass.

    Args:
        model: a diffusers pipeline, or its UNet or transformer.
        names: of modules, as ``named_modules`` has them: ``mid_block``, ``up_blocks.0``, ``transformer_blocks.3``.
        grid: of the image's tokens. By default, its aspect is that of the latents; FLUX packs them and tells positions.

    Yields:
        module name -> ``(b, channels, height, width)``, as computed: on the model's device, in its precision, with
        gradients where they are on.

    Raises:
        FeatureError: the backbone has no such module, or what it puts out is no map of the image.
    """
    backbone = backbone_of(model)
    maps: dict[str, Tensor] = {}
    view = SpatialLayout(grid)
    with ExitStack() as hooks:
        hooks.enter_context(remove_on_exit(backbone.register_forward_pre_hook(view.observe_input, with_kwargs=True)))
        for name in names:
            module = module_by_name(backbone, name)
            hooks.enter_context(remove_on_exit(module.register_forward_hook(capture_hook(maps, name, view))))
        yield maps


@contextmanager
def remove_on_exit(handle: Any) -> Iterator[None]:
    """A hook's handle as a context."""
    try:
        yield
    finally:
        handle.remove()


def capture_hook(maps: dict[str, Tensor], name: str, view: "SpatialLayout") -> Any:
    """A forward hook that puts a module's map into ``maps``."""

    def hook(module: nn.Module, _: Any, output: Any) -> None:
        maps[name] = view.to_map(name, image_output(module, output))

    return hook


def backbone_of(model: Any) -> nn.Module:
    """The UNet or transformer of a pipeline; a module is its own."""
    if isinstance(model, nn.Module):
        return model
    backbone: nn.Module = getattr(model, "unet", None) or model.transformer
    return backbone


def module_by_name(backbone: nn.Module, name: str) -> nn.Module:
    """A module by name; the error suggests what is alike."""
    modules = dict(backbone.named_modules())
    if name not in modules:
        alike = get_close_matches(name, modules, 5, 0.5)
        raise FeatureError(
            f"{type(backbone).__name__} has no module {name!r}.",
            field="modules",
            remedy=f"Name one of its modules, perhaps {', '.join(alike)}." if alike else "Name one of its modules.",
        )
    found: nn.Module = modules[name]
    return found


def image_output(module: nn.Module, output: Any) -> Tensor:
    """The image's half of what a module puts out.

    Blocks of multimodal transformers give (text, image); all else that gives several gives the image first: attention
    (image, text), UNet blocks (states, skip connections).
    """
    if isinstance(output, Tensor):
        return output
    if hasattr(output, "sample"):
        return image_output(module, output.sample)
    found: Tensor = output[-1 if type(module).__name__.endswith("TransformerBlock") else 0]
    return found


@dataclass
class SpatialLayout:
    """How the backbone's present input lies in space."""

    grid: Grid | None
    aspect: Grid | None = None

    def observe_input(self, _: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """A forward pre-hook of the backbone: latents give the aspect, FLUX's image positions the grid itself."""
        latents = arguments[0] if arguments else named.get("sample", named.get("hidden_states"))
        if isinstance(latents, Tensor) and latents.ndim == 4:
            self.aspect = (latents.shape[2], latents.shape[3])
        elif isinstance(named.get("img_ids"), Tensor):
            rows, columns = (
                int(last) + 1 for last in named["img_ids"].amax(tuple(range(named["img_ids"].ndim - 1)))[1:]
            )
            self.aspect = (rows, columns)

    def to_map(self, name: str, states: Tensor) -> Tensor:
        """``(b, c, h, w)`` of maps, or of tokens ``(b, n, c)``."""
        if states.ndim == 4:
            return states
        grid = (self.grid or infer_grid(states.shape[1], self.aspect)) if states.ndim == 3 else None
        if grid is None or grid[0] * grid[1] != states.shape[1]:
            raise FeatureError(
                f"What {name} puts out, of shape {tuple(states.shape)}, is no map of the image.",
                field="modules",
                remedy="Name a block, a resnet or an attention; or hand in the grid of its tokens.",
            )
        return tokens_to_map(states, grid)


def tokens_to_map(tokens: Tensor, grid: Grid) -> Tensor:
    """``(b, h * w, c)``, row by row, -> ``(b, c, h, w)``."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)


def infer_grid(tokens: int, aspect: Grid | None) -> Grid | None:
    """The grid of so many tokens with the aspect of the latents; None where there is none. A square is the last guess."""
    height, width = aspect or (1, 1)
    rows = round(sqrt(tokens * height / width))
    grid = (rows, tokens // rows if rows else 0)
    return grid if grid[0] * grid[1] == tokens and grid[0] * width == grid[1] * height else None
