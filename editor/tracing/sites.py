"""Sites: places in a model whose activation can be restored to that of a clean run."""

from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

from editor.generation.denoiser import ATTENTION_CLASSES, is_cross_attention

TextKind = Literal["self_attention", "mlp", "residual"]
TEXT_KINDS: tuple[TextKind, ...] = ("self_attention", "mlp", "residual")
BlockKind = Literal["resnet", "self_attention", "cross_attention", "feed_forward", "block"]
BLOCK_KINDS: tuple[BlockKind, ...] = ("resnet", "self_attention", "cross_attention", "feed_forward", "block")
Stage = Literal["down", "mid", "up", "transformer"]


class FrozenModel(BaseModel):
    """Base of immutable, hashable models without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class TextSite(FrozenModel):
    """The output of one kind of block in a text encoder, at one token group, in ``window`` layers from ``layer`` on.

    ``residual`` is the residual stream after the layer.
    """

    form: Literal["text"] = "text"
    kind: TextKind
    layer: int
    place: int = Field(description="Index into the trace's places: a token, or several restored together.")
    window: int = 1
    tower: int = Field(0, description="Which text encoder, in pipeline order.")

    @property
    def stop(self) -> int:
        """The layer after the last restored one."""
        return self.layer + self.window

    @property
    def label(self) -> str:
        """Description of layers and kind."""
        layers = f"layer {self.layer}" if self.window == 1 else f"layers {self.layer}-{self.stop - 1}"
        return f"{layers} {self.kind}"


class BlockSite(FrozenModel):
    """The output of one or more modules of an image backbone, from ``first_step`` up to but excluding ``last_step``."""

    form: Literal["block"] = "block"
    kind: BlockKind
    stage: Stage
    modules: tuple[str, ...] = Field(description="Their names in the backbone.")
    first_step: int = 0
    last_step: int | None = Field(None, description="None: to the end.")

    def is_active(self, step: int) -> bool:
        """Return whether the site is restored in this step."""
        return self.first_step <= step and (self.last_step is None or step < self.last_step)

    @property
    def label(self) -> str:
        """Shortened module names."""
        return " + ".join(map(shorten_module_name, self.modules))


def shorten_module_name(module: str) -> str:
    """``"up_blocks.0.attentions.1.transformer_blocks.0.attn2"`` -> ``"up.0.attentions.1.0.attn2"``."""
    return module.replace(".transformer_blocks.", ".").replace("_blocks.", ".").replace("mid_block", "mid")


Site = Annotated[TextSite | BlockSite, Field(discriminator="form")]


def text_sites(
    depth: int, places: Sequence[int], kinds: Sequence[TextKind] = TEXT_KINDS, window: int = 1, tower: int = 0
) -> list[TextSite]:
    """Return the sites of every layer, token group and kind; windows start at every layer where they fit."""
    starts = range(depth - window + 1)
    grid = product(starts, places, kinds)
    return [TextSite(kind=kind, layer=layer, place=place, window=window, tower=tower) for layer, place, kind in grid]


def block_sites(
    backbone: nn.Module, kinds: Sequence[BlockKind] = BLOCK_KINDS, steps: tuple[int, int | None] = (0, None)
) -> list[BlockSite]:
    """Return every module of the given kinds in a diffusers UNet or transformer, in the order of the forward pass."""
    modules = [(name, module_kind(name, module)) for name, module in backbone.named_modules()]
    sites = [
        BlockSite(kind=kind, stage=module_stage(name), modules=(name,), first_step=steps[0], last_step=steps[1])
        for name, kind in modules
        if kind in kinds
    ]
    return sorted(sites, key=lambda site: ("down", "mid", "up", "transformer").index(site.stage))


def module_kind(name: str, module: nn.Module) -> BlockKind | None:
    """Return a module's kind by its diffusers class, or None if it is not a site.

    See :func:`editor.generation.denoiser.is_cross_attention` for how attention modules are classified.
    """
    cls: Any = type(module).__name__
    if cls.startswith("ResnetBlock2D"):
        return "resnet"
    if cls in ATTENTION_CLASSES:
        return "cross_attention" if is_cross_attention(name, module) else "self_attention"
    if cls == "FeedForward":
        return "feed_forward"
    is_block = cls.endswith("TransformerBlock") and module_stage(name) == "transformer"
    return "block" if is_block else None


def module_stage(name: str) -> Stage:
    """Return a UNet module's stage; transformers have a single one."""
    for prefix, stage in (("down_blocks", "down"), ("mid_block", "mid"), ("up_blocks", "up")):
        if name.startswith(prefix):
            return stage  # type: ignore[return-value]
    return "transformer"


def cross_attention_windows(backbone: nn.Module, window: int = 1) -> list[BlockSite]:
    """Return every window of ``window`` consecutive cross-attention layers (Basu et al. 2024b, "LocoGen")."""
    layers = block_sites(backbone, ("cross_attention",))
    names = [site.modules[0] for site in layers]
    return [
        BlockSite(kind="cross_attention", stage=layers[i].stage, modules=tuple(names[i : i + window]))
        for i in range(len(names) - window + 1)
    ]
